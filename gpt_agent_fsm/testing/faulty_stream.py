"""The streams of a server in memory. Each carries the text of one run, and may break off."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import attrs

from gpt_agent_fsm.backends.http.server_sent_events import ServerSentEvent
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.ports import Timeout

__all__ = ["CALM", "FaultyStream", "SentEvent", "StreamFaults", "StreamHabit"]

StreamHabit: TypeAlias = Literal["streams", "refuses", "fails", "hangs_up"]
"""What a server, or a proxy in front of it, always does with requests to create or continue a run as a stream.

`streams`: the server sends a stream. `refuses`: the server refuses the request. `fails`: the proxy answers with an
error, and the server never gets the request. `hangs_up`: the request takes effect, but the connection is closed before
the answer.
"""

SentEvent: TypeAlias = tuple[str, dict[str, Any]]
"""The name and the data of an event in a stream."""


@attrs.frozen(kw_only=True)
class StreamFaults:
    """The probabilities of faults in a stream. Each fault except `refused` may happen at each event.

    Attributes:
        breaks: the probability that the stream breaks off.
        repeats: the probability that an event is sent a second time. This happens only if the events have numbers.
        hurry: the probability that reading the stream of a run makes the run take its next step, if the run has no
            event to send. Otherwise the stream is silent.
        skips: the probability that an event is lost. This happens only if the events have numbers, because otherwise
            nobody can notice the loss.
        errors: the probability that the server reports an error instead of an event. This happens only if the events
            have numbers.
        refused: the probability that the server answers a request for a stream without a stream.
    """

    breaks: float = 0.03
    repeats: float = 0.05
    hurry: float = 0.7
    skips: float = 0.02
    errors: float = 0.02
    refused: float = 0.1


CALM = StreamFaults(breaks=0.0, repeats=0.0, hurry=1.0, skips=0.0, errors=0.0, refused=0.0)


_ERROR = ServerSentEvent("error", b'{"type": "error", "code": "server_error"}')


class FaultyStream:
    """A stream with faults, in place of an `EventStream`. It never blocks: if the server is silent, it breaks off.

    Args:
        events: the events of the server, with None when the server is silent.
        has_numbers: True if the events have numbers. Only such events may be repeated or lost, or replaced by an error.
    """

    def __init__(
        self,
        events: Iterator[SentEvent | None],
        rng: random.Random,
        faults: Callable[[], StreamFaults],
        *,
        has_numbers: bool,
    ) -> None:
        self._events = events
        self._rng = rng
        self._faults = faults
        self._has_numbers = has_numbers
        self._last: ServerSentEvent | None = None
        self._is_closed = self._is_broken = False

    def next_event(self, timeout: Timeout) -> ServerSentEvent | None:
        """See `EventStream.next_event`."""
        del timeout
        if self._is_closed:
            return None
        faults = self._faults()
        if self._last is not None and self._has_numbers and (fault := self._fault_of_numbers(faults)) is not None:
            return fault
        self._is_broken = self._is_broken or self._rng.random() < faults.breaks
        said = None if self._is_broken else next(self._events, ("", {}))
        if said is None:
            self._is_broken = True
            raise TransientError(None, None, "the stream broke off")
        name, data = said
        self._last = ServerSentEvent(name, json.dumps(data).encode()) if name else None
        return self._last

    def _fault_of_numbers(self, faults: StreamFaults) -> ServerSentEvent | None:
        """Return the last event if it is repeated, or an error event, or None if the next event must be sent.

        Before this method returns None, it may drop an event.
        """
        if self._rng.random() < faults.repeats:
            return self._last
        if self._rng.random() < faults.errors:
            self._is_broken = True
            return _ERROR
        if self._rng.random() < faults.skips:
            next(self._events, None)
        return None

    def finish(self) -> None:
        """See `EventStream.finish`."""
        self._is_closed = True

    def close(self) -> None:
        """See `EventStream.close`."""
        self._is_closed = True
