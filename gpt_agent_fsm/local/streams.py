"""Answers that come as server-sent events while a turn is made; what is told on which wire is in `*_events`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import flask
import msgspec

from gpt_agent_fsm.local.models import longest
from gpt_agent_fsm.local.storage import Doc

Event = tuple[str, Doc | str]
"""The name of an event and its data."""

KEEP_ALIVE = 10.0
"""Seconds without an event after which a comment is sent: it keeps the connection, and finds out who has hung up."""

_COMMENT = b": still there\n\n"


def respond(events: Iterator[Event | None], waiting: Callable[[], AbstractContextManager[None]]) -> flask.Response:
    """Return the answer that hands out events as they come, within `waiting`; `None` stands for a pause.

    When the client hangs up, `events` is closed, and nothing else comes of it.
    """

    def body() -> Iterator[bytes]:
        with waiting():
            for event in events:
                yield _COMMENT if event is None else encode(*event)

    return flask.Response(body(), mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


def encode(name: str, data: Doc | str) -> bytes:
    """Return one event as it is sent."""
    content = data.encode() if isinstance(data, str) else msgspec.json.encode(data)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), content)


class Clip:
    """Lets as much text through, piece by piece, as an answer of at most so many tokens has by its length.

    Should the model turn out to have counted, and to have said more, the rest is told at the end.
    """

    def __init__(self, tokens: int | None) -> None:
        self._longest = None if tokens is None else longest(tokens)
        self.length = 0
        """How many characters have been let through."""

    def __call__(self, piece: str) -> str:
        """Return what there is room for, `""` when there is none."""
        if self._longest is not None:
            piece = piece[: self._longest - self.length]
        self.length += len(piece)
        return piece
