"""An HTTP answer whose body is a stream of server-sent events.

One OS thread may open the stream, and another may read it. So each read has a time limit of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.server_sent_events import ServerSentEvent, read_events
from gpt_agent_fsm.backends.http.transport import Incoming
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import CallLimits, Timeout

__all__ = ["EventStream", "closed_if_it_fails", "first_events", "is_event_stream"]

_END = 0.5
"""Seconds to wait for the end of an answer after its last event."""


def is_event_stream(response: Incoming) -> bool:
    """Return whether an answer has succeeded and consists of server-sent events."""
    return response.status < 300 and "event-stream" in response.headers.get("content-type", "")


class EventStream:
    """The events of one answer, in order.

    Args:
        explained: a function of the longest silence in seconds; None for the time of the whole request. It returns a
            context manager that turns a failure of the connection into an `ApiError`.
        redacted: a function that removes secrets from bytes.
        max_bytes: the maximum number of bytes of the whole stream.
        too_long: a function that returns the error for a longer stream.
    """

    def __init__(
        self,
        response: Incoming,
        explained: Callable[[float | None], AbstractContextManager[None]],
        redacted: Callable[[bytes], bytes],
        max_bytes: int,
        too_long: Callable[[], ApiError],
    ) -> None:
        self._response = response
        self._explained = explained
        self._redacted = redacted
        self._bytes_left = max_bytes
        self._too_long = too_long
        self._timeout: Timeout = 0.0
        self._reading = threading.Lock()
        """Held while an event is read."""
        self._events = read_events(self._chunks())
        self._is_closed = False

    def next_event(self, timeout: Timeout) -> ServerSentEvent | None:
        """Block until the next event arrives, and return it. Return None at the end of the stream, and after `close`.

        If `timeout` is a number, it is the longest time in seconds without any new bytes. The bytes of a comment
        count, too. Raises an `ApiError` if the connection fails or the time is over.
        """
        with self._reading:
            self._timeout = timeout
            event = None if self._is_closed else next(self._events, None)
            if self._is_closed:
                self._response.close()
        return None if event is None else ServerSentEvent(event.name, self._redacted(event.data))

    def finish(self) -> None:
        """Read the end of the answer, if it comes soon, so that its connection can be used again. Then close."""
        limits = exchange.limits_of(_END)
        with suppress(ApiError):
            while self.next_event(limits) is not None:
                pass
        self.close()

    def close(self) -> None:
        """End the stream. If another OS thread waits in a read, the read ends immediately. Idempotent."""
        self._is_closed = True
        self._response.interrupt()
        if self._reading.acquire(blocking=False):
            # Otherwise the OS thread that reads closes the answer.
            try:
                self._response.close()
            finally:
                self._reading.release()

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._chunk():
            self._bytes_left -= len(chunk)
            if self._bytes_left < 0:
                raise self._too_long()
            yield chunk

    def _chunk(self) -> bytes:
        silence = None if isinstance(self._timeout, CallLimits) else self._timeout
        exchange.begin(self._timeout)
        with self._explained(silence):
            return self._response.read_piece()


def first_events(events: EventStream, limits: CallLimits) -> Iterator[ServerSentEvent]:
    """Yield the first events of the answer to a POST.

    If the stream fails before the caller stops reading, it is unknown whether the POST has taken effect. So this raises
    `OutcomeUnknown`.
    """
    while True:
        try:
            event = events.next_event(limits)
        except TransientError as error:
            raise OutcomeUnknown(error.status, error.code, error.message, in_flight=True) from error
        if event is None:
            return
        yield event


@contextmanager
def closed_if_it_fails(events: EventStream) -> Iterator[None]:
    """Close the stream if the `with` block raises an error."""
    try:
        yield
    except BaseException:
        events.close()
        raise
