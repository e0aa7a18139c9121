"""Serves a WSGI application on a socket with waitress.

Waitress expects to be the only server of a process. Here a process may start and close many servers. Each server has
its own OS threads and connections, logs under this package's name, and releases everything when it is closed.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from wsgiref.types import WSGIApplication

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import ClientDisconnected  # type: ignore[import-untyped]

from gpt_agent_fsm.local.http.connections import IDLE_TIMEOUT, Listener
from gpt_agent_fsm.local.http.dispatcher import Dispatcher

MAX_CONNECTIONS = 4096
"""The largest number of connections. The limit is lower if the process may not open enough files."""

_DRAIN_POLL = 0.02
"""Seconds between two checks whether all clients have their answers, while a server is being closed."""

HangUp: type[Exception] = ClientDisconnected
"""An application raises this exception to hang up on its client without sending another byte."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address. Raises `OSError` when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def _max_connections() -> int:
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource  # noqa: PLC0415 - Windows has none

    # A quarter of the files that the process may open is left for everything else.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files * 3 // 4)


class HttpServer:
    """Serves a WSGI application on a listening socket, from `start` to `close`. `close` also closes the socket.

    `threads` is the number of OS threads that answer requests. One more OS thread answers requests for the path
    `reserved`. A body is not read if its declared length is more than `max_body` bytes. `Listener` explains
    `refusal_headers`.
    """

    def __init__(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        *,
        threads: int,
        reserved: str,
        max_body: int,
        refusal_headers: Callable[[str | None], list[tuple[str, str]]],
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self._threads = threads
        self._dispatcher = Dispatcher()
        self._listener = Listener(
            application,
            {},
            _sock=listening,
            dispatcher=self._dispatcher,
            adj=Adjustments(
                threads=threads,
                max_request_body_size=max_body,
                connection_limit=_max_connections(),
                channel_timeout=IDLE_TIMEOUT,
                # It is not an error of the server if a client hangs up.
                log_socket_errors=False,
                clear_untrusted_proxy_headers=False,
                ident="gpt-agent-fsm",
            ),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self._reserved = Dispatcher()
        self._listener.reserved = (reserved, self._reserved)
        self._listener.refusal_headers = refusal_headers
        self._accepting = threading.Event()
        self._hang_up_at: float | None = None
        self._hung_up = threading.Event()
        self._stopping = False
        self._loop = threading.Thread(target=self._run, name="local-http", daemon=True)

    def start(self) -> None:
        """Start all OS threads. Raises `RuntimeError` if the process may not start enough of them."""
        self._dispatcher.start(self._threads)
        self._reserved.start(1)
        self._loop.start()

    def accept(self) -> None:
        """Begin to answer requests. Call it after `start`; clients that connect earlier wait."""
        self._accepting.set()

    def close(self, timeout: float) -> None:
        """Stop listening, hang up on all clients and end all OS threads, all within `timeout` seconds.

        A client still gets its answer if the answer is ready within the first half of this time. This method may be
        called again, even after an interrupted call.
        """
        if self._listener.closed:
            return
        self._accepting.set()
        if self._loop.is_alive():
            # Only the loop's OS thread may hang up. Hanging up also frees the OS threads that wait for a slow client.
            self._hang_up_at = time.monotonic() + timeout / 2
            self._listener.pull_trigger()
            self._hung_up.wait()
        else:
            self._hang_up()
        self._dispatcher.shutdown(timeout=timeout / 2)
        self._reserved.shutdown(timeout=timeout / 2)
        # The pipe of the trigger is closed last: until the loop ends, other OS threads may write to the pipe.
        self._stopping = True
        self._listener.pull_trigger()
        if self._loop.is_alive():
            self._loop.join()
        self._listener.closed = True
        self._listener.trigger.close()

    def _run(self) -> None:
        self._accepting.wait()
        while not self._stopping:
            patience = 1.0 if self._hang_up_at is None else _DRAIN_POLL
            wasyncore.loop(timeout=patience, use_poll=True, map=self._listener._map, count=1)
            self._listener.enforce_limits(time.monotonic())
            if self._hang_up_at is not None and not self._hung_up.is_set():
                self._drain(self._hang_up_at)

    def _drain(self, hang_up_at: float) -> None:
        """Accept no more clients.

        Hang up on all clients as soon as all have their answers, at the latest at `hang_up_at`.
        """
        self._stop_listening()
        channels = list(self._listener.active_channels.values())
        if all(channel.is_idle for channel in channels) or time.monotonic() >= hang_up_at:
            self._hang_up()

    def _stop_listening(self) -> None:
        if self._listener.accepting:
            self._listener.accepting = False
            self._listener.del_channel()
            self._listener.socket.close()

    def _hang_up(self) -> None:
        try:
            self._stop_listening()
            for channel in list(self._listener.active_channels.values()):
                channel.handle_close()
                if channel.request is not None:
                    channel.request.close()  # closes the temporary file that may hold a part of a large body
        finally:
            self._hung_up.set()
