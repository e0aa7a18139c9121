"""What the wires share: a table of routes, one transaction per request, and the turn that a request begins."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

import flask

from gpt_agent_fsm.local.http import streams
from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.local.http.error_responses import no_streams
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.live_turn import Turn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction
from gpt_agent_fsm.local.shared.workers import Workers

Handler = Callable[..., Doc]
"""A method of a wire: gets the transaction, the body and the ids of the path, and returns the JSON of the answer."""

Routes = Iterable[tuple[str, str, Handler]]
"""A method, a path below `/v1` and its handler per row."""

Events = Iterable[streams.Event | None]


class Wire(ABC):
    """The handlers of one wire, over one storage."""

    def __init__(self, storage: Storage, workers: Workers) -> None:
        self._storage = storage
        self._workers = workers

    def _mount(self, name: str, routes: Routes) -> flask.Blueprint:
        """Return the routes, to be mounted under `/v1`."""
        blueprint = flask.Blueprint(name, __name__)
        for method, rule, handler in routes:
            view = partial(self._answer, handler)
            blueprint.add_url_rule(rule, endpoint=handler.__name__.strip("_"), view_func=view, methods=[method])
        return blueprint

    def _answer(self, handler: Handler, **ids: str) -> Doc | flask.Response:
        # The body is read ahead of the transaction, which must never wait for a client.
        body = validation.json_object(flask.request.get_data()) if flask.request.method == "POST" else {}
        streamed = self._is_streamed(handler, body)
        with self._storage.transaction() as tx:
            answer = handler(self, tx, body, **ids)
            events = self._events(tx, handler, answer) if streamed else None
        if events is not None:
            return streams.respond(iter(events), flask.request.environ[WAITING])
        return self._finished(handler, answer)

    @abstractmethod
    def _is_streamed(self, handler: Handler, body: Doc) -> bool:
        """Return whether the answer is to come as events. Raises `ApiProblem` where there are none."""

    @abstractmethod
    def _events(self, tx: Transaction, handler: Handler, answer: Doc) -> Events:
        """Return what to tell instead of the answer, from the transaction that has made it."""

    def _finished(self, _handler: Handler, answer: Doc) -> Doc:
        """Return the answer, once there is no more to wait for."""
        return answer

    def _begin_turn(self, tx: Transaction, work: Doc, body: Doc) -> None:
        """Queue the next turn of a run or response once the transaction is committed; see `_turn`."""
        flask.g.turn = Turn(streamed=body.get("stream") is True)
        tx.afterwards(partial(self._workers.enqueue, work, flask.g.turn))

    @staticmethod
    def _turn() -> Turn:
        """Return the turn that this request has begun."""
        turn: Turn = flask.g.turn
        return turn


def wants_stream(body: Doc, *, offered: bool) -> bool:
    """Return whether a body asks for a stream. Raises `ApiProblem` if it does and none is offered."""
    wanted = validation.flag(body, "stream", default=False)
    if wanted and not offered:
        raise no_streams()
    return wanted
