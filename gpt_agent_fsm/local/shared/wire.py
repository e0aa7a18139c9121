"""Answers the HTTP requests of an API. Each request has one transaction.

After the transaction, the answer is sent immediately, after a wait, or as a stream.
"""

from collections.abc import Iterable
from functools import partial

import flask

from gpt_agent_fsm.local.http import streams
from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.local.http.error_responses import no_streams
from gpt_agent_fsm.local.http.routes import Route, mount
from gpt_agent_fsm.local.shared import options, validation
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction
from gpt_agent_fsm.local.shared.workers import Workers

PATIENCE = 5.0
"""Seconds that a request waits for another program to release its lock on the database."""


class Wire:
    """Handles the requests of one API, with one storage. The `Route` of each request says how it is handled."""

    def __init__(self, storage: Storage, workers: Workers) -> None:
        self._storage = storage
        self._workers = workers

    def blueprint(self, name: str, routes: Iterable[Route]) -> flask.Blueprint:
        """Return a blueprint of the routes, which must be mounted under `/v1`."""
        return mount(name, routes, self._answer)

    def _answer(self, route: Route, **ids: str) -> Doc | flask.Response:
        # The body is read before the transaction begins, because a transaction must never wait for a client.
        body = validation.json_object(flask.request.get_data()) if route.method == "POST" else {}
        options.check_schema_early(body)
        streamed = _wants_stream(route, body)
        turn = {"turn": LiveTurn(streamed=streamed)} if route.begins_turn else {}
        with self._storage.transaction(PATIENCE) as tx:
            answer = route.handler(self, tx, body, **ids, **turn)
            events = route.stream(self, tx, answer, **turn) if streamed and route.stream else None
        if events is not None:
            return streams.respond(iter(events), flask.request.environ[WAITING])
        return route.waits(self, answer, **turn) if route.waits else answer

    def _begin_turn(self, tx: Transaction, work: Doc, turn: LiveTurn) -> None:
        """Queue the next turn of a run or response, as soon as the transaction is committed."""
        tx.on_commit(partial(self._workers.enqueue, work, turn))


def _wants_stream(route: Route, body: Doc) -> bool:
    """Return whether the client asks for a stream. It asks for one in the query of a GET, or in the body of a POST.

    Raises `ApiProblem` if a body asks for a stream, but this kind of request is never answered with a stream.
    """
    if route.method == "GET":
        return route.stream is not None and flask.request.args.get("stream") == "true"
    wanted = validation.boolean(body, "stream", default=False)
    if wanted and route.stream is None:
        raise no_streams()
    return wanted
