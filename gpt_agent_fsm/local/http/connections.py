"""The connections of one server. They have limits, so a slow client cannot make other clients wait.

One OS thread reads all connections, so a request that arrives slowly needs no other OS thread until it is complete.
"""

import time
from collections.abc import Callable

from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.parser import HTTPRequestParser  # type: ignore[import-untyped]
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]
from waitress.utilities import Error  # type: ignore[import-untyped]

from gpt_agent_fsm.local.http.dispatcher import Dispatcher, RefusalTask, Task, logger

HEADER_TIMEOUT = 30.0
"""Seconds from the first byte of a request to the end of its headers."""

REQUEST_TIMEOUT = 120.0
"""Seconds from the first byte of a request to the end of its body."""

IDLE_TIMEOUT = 120
"""Seconds after which a connection is closed if it has no request, or if its client does not read the answer."""

_BATCH = 64
"""The largest number of connections that `handle_accept` accepts in one call. As many places are kept free for them."""


class _TooSlow(Error):  # type: ignore[misc]
    code = 408
    reason = "Request Timeout"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    def __init__(self, adj: object) -> None:
        super().__init__(adj)
        self.began: float = time.monotonic()

    def refuse_if_late(self, now: float) -> bool:
        """If the request has taken too long to arrive, end it with an error. Return whether it was ended."""
        part, limit = ("body", REQUEST_TIMEOUT) if self.headers_finished else ("headers", HEADER_TIMEOUT)
        if now - self.began < limit:
            return False
        if not self.headers_finished:
            self.parse_header(b"GET / HTTP/1.0\r\n")
        self.error = _TooSlow(f"the {part} did not arrive within {limit:.0f} seconds")
        self.completed = True
        return True


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection to a client."""

    logger = logger
    task_class = Task
    error_task_class = RefusalTask
    parser_class = _Parser
    request: _Parser | None

    def writable(self) -> bool:
        """Return whether the loop should send data on this connection."""
        # While an OS thread of the dispatcher sends an answer, waitress's loop would try to send it, too. Each attempt
        # would take the interpreter lock from that OS thread, which wakes the loop itself if something is left to send.
        if self.requests and self.total_outbufs_len and not self.will_close:
            if not self.outbuf_lock.acquire(blocking=False):
                return False
            self.outbuf_lock.release()
        return bool(super().writable())

    @property
    def is_idle(self) -> bool:
        """True if no request on this connection is being answered, and nothing is left to send."""
        return not (self.requests or self.total_outbufs_len)

    def service(self) -> None:
        """Answer the next request. An OS thread of the dispatcher calls this method."""
        super().service()
        # The next request may have begun to arrive during this answer. It was not read then, so its time begins now.
        with self.requests_lock:
            if self.request is not None:
                self.request.began = time.monotonic()

    def _flush_outbufs_below_high_watermark(self) -> None:
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            # The inherited method waits for the client.
            with self.server.task_dispatcher.waiting():
                super()._flush_outbufs_below_high_watermark()

    def enforce_limits(self, now: float) -> None:
        """Send an error if a request arrives too slowly. Hang up if the client does not read its answer."""
        if self.request is not None and self.is_idle:
            with self.requests_lock:
                if self.request.refuse_if_late(now):
                    self.requests.append(self.request)
                    self.request = None
                    self.server.add_task(self)
        elif self.total_outbufs_len and time.time() - self.last_activity > self.adj.channel_timeout:
            # Waitress would wait until the socket accepts more data, which may never happen.
            self.handle_close()


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """The listening socket and its connections.

    `reserved` is a path with its own dispatcher. This dispatcher answers all requests for the path, even if all OS
    threads for other requests are busy. `refusal_headers` returns the headers of the answer to a request that never
    reaches the application. Its argument is the origin of the page that sent the request, or None.
    """

    logger = logger
    channel_class = Channel
    closed = False
    reserved: tuple[str, Dispatcher]
    refusal_headers: Callable[[str | None], list[tuple[str, str]]]
    _next_check = 0.0

    def pull_trigger(self) -> None:
        """Wake the loop."""
        # Once the pipe is closed, its file descriptor may belong to another file.
        if not self.closed:
            super().pull_trigger()

    def add_task(self, channel: Channel) -> None:
        """Queue the next request of a connection. An OS thread of the dispatcher will answer it."""
        path, dispatcher = self.reserved
        if getattr(channel.requests[0], "path", None) == path:
            dispatcher.add_task(channel)
        else:
            super().add_task(channel)

    def handle_accept(self) -> None:
        """Accept up to `_BATCH` waiting connections."""
        for _ in range(_BATCH):
            number = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == number:
                break

    def enforce_limits(self, now: float) -> None:
        """Close idle connections if there are too many, and once a second enforce the limits of every connection.

        The loop calls this method.
        """
        # At its limit, waitress accepts no connection. So idle connections are closed before the limit is reached.
        surplus = len(self._map) - self.adj.connection_limit + _BATCH
        if surplus > 0:
            self._close_idle(surplus)
        if now >= self._next_check:
            self._next_check = now + 1.0
            for channel in list(self.active_channels.values()):
                channel.enforce_limits(now)

    def _close_idle(self, number: int) -> None:
        """Close up to `number` idle connections. Those that were idle longest are closed first.

        A connection with an incomplete request is closed after all others.
        """
        idle = [channel for channel in list(self.active_channels.values()) if channel.is_idle]
        idle.sort(key=lambda channel: (channel.request is not None, channel.last_activity))
        for channel in idle[:number]:
            channel.handle_close()
            if channel.request is not None:
                channel.request.close()
