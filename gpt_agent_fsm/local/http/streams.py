"""Makes HTTP answers that are streams of server-sent events. Each API defines its own events."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import flask
import msgspec

Event = tuple[str, dict[str, Any] | str]
"""The name of an event and its data."""

KEEP_ALIVE = 10.0
"""Seconds without an event after which a comment is sent. The comment keeps the connection open, and shows whether the
client has hung up."""

_COMMENT = b": still there\n\n"


def respond(events: Iterator[Event | None], waiting: Callable[[], AbstractContextManager[None]]) -> flask.Response:
    """Return the HTTP answer that sends the events one by one.

    While they are sent, the context manager that `waiting` returns is open.

    If `events` yields None, there was no event for `KEEP_ALIVE` seconds, and a comment is sent. When the client hangs
    up, `events` is closed, and nothing else happens.
    """

    def body() -> Iterator[bytes]:
        with waiting():
            for event in events:
                yield _COMMENT if event is None else encode(*event)

    return flask.Response(body(), mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


def encode(name: str, data: dict[str, Any] | str) -> bytes:
    """Return one event as bytes, in the form of server-sent events."""
    content = data.encode() if isinstance(data, str) else msgspec.json.encode(data)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), content)
