"""What the wires share: a table of routes, and one transaction per request."""

from collections.abc import Callable, Iterable
from functools import partial

import flask

from gpt_agent_fsm.local import fields
from gpt_agent_fsm.local.problems import no_streams
from gpt_agent_fsm.local.storage import Doc, Storage
from gpt_agent_fsm.local.workers import Workers

Handler = Callable[..., Doc]
"""A method of a wire: gets the transaction, the body and the ids of the path, and returns the JSON of the answer."""

Routes = Iterable[tuple[str, str, Handler]]
"""A method, a path below `/v1` and its handler per row."""


class Wire:
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

    def _answer(self, handler: Handler, **ids: str) -> Doc:
        # The body is read ahead of the transaction, which must never wait for a client.
        body = fields.json_object(flask.request.get_data()) if flask.request.method == "POST" else {}
        if body.get("stream"):
            raise no_streams()
        with self._storage.transaction() as tx:
            return handler(self, tx, body, **ids)
