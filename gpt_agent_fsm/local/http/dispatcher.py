"""The pool of OS threads that answer requests, and the tasks of this pool. Each task answers one request."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]

from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)
# Waitress warns whenever a request waits for an OS thread, but such waits are normal for a bounded pool.
_queue_logger = logging.getLogger(f"{__name__}.queue")
_queue_logger.setLevel(logging.ERROR)


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """A pool of OS threads. While one of them waits for something, the pool has one more."""

    logger = logger
    queue_logger = _queue_logger

    def __init__(self) -> None:
        super().__init__()
        self._sizing = threading.Lock()
        self._closed = False
        self._wanted = 0

    def start(self, threads: int) -> None:
        """Start this many OS threads, or fewer if the process may not have more.

        Raises `RuntimeError` if the process may have none.
        """
        self._grow(threads)
        if not self.threads:
            raise RuntimeError("The process cannot start an OS thread, so the server cannot answer.")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the caller waits inside the `with` block, the pool has one more OS thread."""
        self._grow(1)
        try:
            yield
        finally:
            self._grow(-1)

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start an OS thread. If the process may not have more, log a warning and continue without it."""
        try:
            super().start_new_thread(target, thread_no)
        except RuntimeError as error:
            logger.warning("Requests have to wait: %s", error)
            # The caller has added the OS thread to `threads`, and will add it to `active_count`.
            self.threads.discard(thread_no)
            self.active_count -= 1

    def _grow(self, change: int) -> None:
        with self._sizing:
            # A wait that ends because of the shutdown must not start OS threads again.
            if not self._closed:
                self._wanted += change
                self.set_thread_count(self._wanted)

    def shutdown(self, *args: object, **kwargs: object) -> bool:
        """End all OS threads."""
        with self._sizing:
            self._closed = True
        return bool(super().shutdown(*args, **kwargs))


class Task(WSGITask):  # type: ignore[misc]
    """A request that the application answers."""

    logger = logger

    def get_environment(self) -> dict[str, object]:
        """Return the WSGI environment, with the key `WAITING` added."""
        environment: dict[str, object] = super().get_environment()
        environment[WAITING] = self.channel.server.task_dispatcher.waiting
        return environment


class RefusalTask(ErrorTask):  # type: ignore[misc]
    """Sends a JSON error for a request that never reaches the application.

    The request may be invalid HTTP, too large or too slow.
    """

    logger = logger

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error
        kind = "server_error" if error.code >= 500 else "invalid_request_error"
        problem = ApiProblem(error.code, f"{error.reason}: {error.body}", kind=kind)
        body = msgspec.json.encode(problem.body())
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.response_headers += self.channel.server.refusal_headers(self.request.headers.get("ORIGIN"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
