"""Routes: everything that the server knows about one kind of request is in its row, and nowhere else."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import flask
from attrs import field, frozen

from gpt_agent_fsm.local.http.streams import Event

Answer = dict[str, Any]
"""The JSON object that a request is answered with."""

Events = Iterable[Event | None]
"""The events of a stream; `None` stands for a pause."""


@frozen
class Route:
    """One kind of request to an API: its functions are methods of the API's handlers.

    Attributes:
        path: the path below `/v1`; the handler gets the ids in angle brackets as keywords.
        handler: called within a transaction, with the transaction, the body and the ids; if it begins a turn, all three
            functions also get the turn, as the keyword `turn`.
        stream: called with the transaction and the handler's answer if the client asks for a stream; returns the events
            that are sent instead of the answer. None means that there are no streams.
        waits: called with the handler's answer after the transaction; blocks, and returns the answer to send. None
            means that the handler's answer is sent at once.
    """

    method: str
    path: str
    handler: Callable[..., Answer]
    stream: Callable[..., Events] | None = field(default=None, kw_only=True)
    waits: Callable[..., Answer] | None = field(default=None, kw_only=True)

    @property
    def begins_turn(self) -> bool:
        """True if the request starts or continues work of the model."""
        return self.method == "POST" and self.stream is not None


def mount(name: str, routes: Iterable[Route], answer: Callable[..., Answer | flask.Response]) -> flask.Blueprint:
    """Return the routes as a blueprint, to be mounted under `/v1`; `answer` is called with the route and the ids."""
    blueprint = flask.Blueprint(name, __name__)
    for route in routes:
        view = partial(answer, route)
        blueprint.add_url_rule(route.path, endpoint=route.handler.__name__, view_func=view, methods=[route.method])
    return blueprint
