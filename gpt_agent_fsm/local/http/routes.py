"""Defines `Route`, a row of the table of an API's requests, and makes a Flask blueprint from such a table."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import flask
from attrs import field, frozen

from gpt_agent_fsm.local.http.streams import Event

Answer = dict[str, Any]
"""The JSON object of an HTTP answer. A handler may also return a `flask.Response`, for an answer that is not JSON."""

Events = Iterable[Event | None]
"""The events of a stream; `None` stands for a pause."""


@frozen
class Route:
    """One kind of request to an API.

    `handler`, `stream` and `waits` are methods of the class that handles the API. If the request begins a turn, all
    three also get the turn, as the keyword `turn`.

    Attributes:
        path: the path below `/v1`, with the names of ids in angle brackets. The handler gets these ids as keywords.
        handler: the method that carries out the request within a transaction, and returns the answer. It gets the
            transaction, the body and the ids. A handler of files gets no body; the one that stores a file gets the
            fields of the form instead.
        stream: the method that returns the events to send instead of the answer, if the client asks for a stream. It
            gets the transaction and the handler's answer. None means that there are no streams.
        waits: the method that blocks after the transaction, and returns the answer to send. It gets the handler's
            answer. None means that the handler's answer is sent without a wait.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    stream: Callable[..., Events] | None = field(default=None, kw_only=True)
    waits: Callable[..., Answer] | None = field(default=None, kw_only=True)

    @property
    def begins_turn(self) -> bool:
        """True if the request starts or continues work of the model."""
        return self.method == "POST" and self.stream is not None


def mount(name: str, routes: Iterable[Route], answer: Callable[..., Answer | flask.Response]) -> flask.Blueprint:
    """Return a blueprint of the routes for the path `/v1`.

    `answer` is called for each request, with its route and the ids of its path.
    """
    blueprint = flask.Blueprint(name, __name__)
    for route in routes:
        view = partial(answer, route)
        blueprint.add_url_rule(route.path, endpoint=route.handler.__name__, view_func=view, methods=[route.method])
    return blueprint
