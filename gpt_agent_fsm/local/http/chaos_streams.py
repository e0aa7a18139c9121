"""Injects faults into the streams of events that an application sends."""

import random
import re
import threading
from collections.abc import Iterable, Iterator

from gpt_agent_fsm.local.http.listener import HangUp

STREAM_FAULTS = ("stream-drop", "stream-stall", "stream-repeat", "stream-end")
"""The faults that only streams can have."""

_MOST = 8
"""The largest number of events before a fault, if the place of the fault is random."""

_END = re.compile(
    rb"event: (done|error|(response|thread\.run)\.(completed|incomplete|failed|cancelled|expired|requires_action))\n"
)
"""Matches the events after which clients expect only the end of the stream."""


def broken(
    fault: str, body: Iterable[bytes], dice: random.Random, *, after: int | None, stall: float, closing: threading.Event
) -> Iterator[bytes]:
    """Yield the events of a stream, with this fault after `after` events, or at the `_END` event if that comes first.

    If `after` is None, the number of events before the fault is random. A stream that stalls is silent for `stall`
    seconds, or until `closing` is set. After that, the stream is dropped.
    """
    place = dice.randint(1, _MOST) if after is None else after
    try:
        for number, event in enumerate(body):
            if number != place and not (number < place and _END.match(event)):
                yield event
                continue
            place = number
            match fault:
                case "stream-drop":
                    yield event[: dice.randint(1, len(event) - 1)]
                    raise HangUp
                case "stream-stall":
                    closing.wait(stall)
                    raise HangUp
                case "stream-repeat":
                    yield event
                    yield event
                case _:
                    return
    finally:
        if close := getattr(body, "close", None):
            close()
