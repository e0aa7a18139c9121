"""Serving a WSGI application on a socket with waitress: its start, its reliable end, and its log.

Waitress expects to be the only server of a process. Here there may be many, which come and go: each has its own OS
threads and connections, logs under this package's name, and releases everything when it is closed.
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.types import WSGIApplication

import msgspec
from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import ClientDisconnected, HTTPChannel  # type: ignore[import-untyped]
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]

from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.logs import get_logger

logger = get_logger(__name__)
# Waitress warns whenever a request waits for an OS thread, but that is normal for a bounded pool.
_queue_logger = logging.getLogger(f"{__name__}.queue")
_queue_logger.setLevel(logging.ERROR)


HangUp: type[Exception] = ClientDisconnected
"""Raised by an application to hang up on its client without another byte."""


class _Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    logger = logger
    queue_logger = _queue_logger

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._sizing = threading.Lock()
        self._closed = False
        self._wanted = 0
        self._grow(threads)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Add one OS thread, as long as the caller's waits for something."""
        self._grow(1)
        try:
            yield
        finally:
            self._grow(-1)

    def _grow(self, change: int) -> None:
        with self._sizing:
            # A wait that ends because of the shutdown must not start OS threads again.
            if not self._closed:
                self._wanted += change
                self.set_thread_count(self._wanted)

    def shutdown(self, *args: object, **kwargs: object) -> bool:
        with self._sizing:
            self._closed = True
        return bool(super().shutdown(*args, **kwargs))


class _Task(WSGITask):  # type: ignore[misc]
    logger = logger

    def get_environment(self) -> dict[str, object]:
        environment: dict[str, object] = super().get_environment()
        environment[WAITING] = self.channel.server.task_dispatcher.waiting
        return environment


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers requests that waitress itself refuses (invalid HTTP, headers or body too large) with JSON errors, too."""

    logger = logger

    def execute(self) -> None:
        error = self.request.error
        problem = ApiProblem(error.code, f"{error.reason}: {error.body}")
        body = msgspec.json.encode(problem.body())
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    logger = logger
    task_class = _Task
    error_task_class = _ErrorTask

    def writable(self) -> bool:
        # While an OS thread sends its answer, waitress's loop would offer its help again and again, and keep the
        # interpreter lock from that very OS thread, which wakes the loop when something is left to send.
        if self.requests and self.total_outbufs_len and not self.will_close:
            if not self.outbuf_lock.acquire(blocking=False):
                return False
            self.outbuf_lock.release()
        return bool(super().writable())


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    logger = logger
    channel_class = _Channel
    closed = False

    def pull_trigger(self) -> None:
        # The file descriptor of a closed pipe may belong to another file by now.
        if not self.closed:
            super().pull_trigger()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address. Raises `OSError` when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


class HttpServer:
    """A WSGI application on a listening socket, from `start` to `close`, which also closes the socket.

    `max_body` is in bytes: a larger declared body is not read.
    """

    def __init__(self, application: WSGIApplication, listening: socket.socket, *, threads: int, max_body: int) -> None:
        self.port: int = listening.getsockname()[1]
        self._dispatcher = _Dispatcher(threads)
        self._listener = _Listener(
            application,
            {},
            _sock=listening,
            dispatcher=self._dispatcher,
            adj=Adjustments(
                threads=threads,
                max_request_body_size=max_body,
                connection_limit=1000,
                # Clients that hang up are not errors of the server.
                log_socket_errors=False,
                clear_untrusted_proxy_headers=False,
                ident="gpt-agent-fsm",
            ),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self._hung_up = threading.Event()
        self._stopping = False
        self._loop = threading.Thread(target=self._run, name="local-http", daemon=True)

    def start(self) -> None:
        """Start to answer."""
        self._loop.start()

    def close(self, timeout: float) -> None:
        """Hang up on all clients and end all OS threads; a request that is being handled gets `timeout` seconds."""
        # The connections belong to the loop's OS thread. Hanging up also frees those that wait for a slow reader.
        self._listener.trigger.pull_trigger(self._hang_up)
        self._hung_up.wait()
        self._dispatcher.shutdown(timeout=timeout)
        # The pipe of the trigger is closed last, by this OS thread: while the loop runs, others may write to it.
        self._stopping = True
        self._listener.pull_trigger()
        self._loop.join()
        self._listener.closed = True
        self._listener.trigger.close()

    def _run(self) -> None:
        while not self._stopping:
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._listener._map, count=1)

    def _hang_up(self) -> None:
        try:
            self._listener.accepting = False
            self._listener.del_channel()
            self._listener.socket.close()
            for channel in list(self._listener.active_channels.values()):
                channel.handle_close()
                if channel.request is not None:
                    channel.request.close()  # the half of a large body is in a file
        finally:
            self._hung_up.set()
