"""The streams of a server in memory. They have the text of its runs, and may break."""

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
"""What a server, or a proxy before it, always does if a run should be created or continued as a stream.

`refuses`: it refuses the request. `fails`: the proxy answers with an error, and the server never gets the request.
`hangs_up`: the request takes effect, but the connection is closed before the answer.
"""

SentEvent: TypeAlias = tuple[str, dict[str, Any]]
"""The name and the data of an event."""


@attrs.frozen(kw_only=True)
class StreamFaults:
    """The probability of each fault for each event of a stream.

    Attributes:
        breaks: the stream breaks off.
        repeats: the event comes a second time. This happens only to streams whose events have numbers.
        hurry: if a run has no event to send, reading its stream makes the run do its next step. Otherwise the stream is
            silent.
        skips: the event is lost. This happens only to streams with numbers, because in others nobody can notice it.
        errors: the server reports an error instead of the event. This happens only to streams with numbers.
        refused: the server answers without a stream. This is decided once for each stream.
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
    """Replaces an `EventStream`. It never blocks: when the server is silent, the stream breaks off.

    Args:
        events: the events of the server, with None when the server is silent.
        has_numbers: True if the events have numbers, so that some may be repeated or lost.
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
        """Return an event that comes again, or an error. Otherwise return None, perhaps after the loss of an event."""
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
