"""`LocalServer`, which serves the API on a socket from its construction to `close()`."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self
from wsgiref.types import WSGIApplication

from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.local import arguments
from gpt_agent_fsm.local.assistants import lifecycle as run_lifecycle
from gpt_agent_fsm.local.assistants import routes as assistant_routes
from gpt_agent_fsm.local.files import routes as file_routes
from gpt_agent_fsm.local.http import access
from gpt_agent_fsm.local.http.application import HEALTH, MAX_BODY, create_app
from gpt_agent_fsm.local.http.chaos import Chaos, ChaosApplication
from gpt_agent_fsm.local.http.cors import Cors, cors_headers
from gpt_agent_fsm.local.http.listener import HttpServer, bind
from gpt_agent_fsm.local.http.recording import Recorder, SeenRequest
from gpt_agent_fsm.local.models.echo import echo
from gpt_agent_fsm.local.models.protocol import Model
from gpt_agent_fsm.local.responses import lifecycle as response_lifecycle
from gpt_agent_fsm.local.responses import routes as response_routes
from gpt_agent_fsm.local.shared import unsupported
from gpt_agent_fsm.local.shared.storage import Storage
from gpt_agent_fsm.local.shared.storage_errors import STORAGE_ERRORS
from gpt_agent_fsm.local.shared.workers import JobKind, Workers

_HTTP_THREADS = 8
"""The number of OS threads that answer requests. More of them would only wait for the interpreter. OS threads that wait
for a model are not included in this number."""

_HEALTH_PATIENCE = 1.0
"""Seconds that a health check waits for another program to release its lock on the database."""

_JOB_KINDS: dict[str, JobKind] = {"thread.run": run_lifecycle, "response": response_lifecycle}
"""The kinds of work for the model. Each key is the value of the field `object` in stored work of that kind."""

_PATIENCE = 0.4
"""Seconds that `close` waits for model calls in progress. It waits as long again for requests in progress."""


class LocalServer:
    """An OpenAI-compatible server on a socket. It answers as soon as it is constructed.

    Args:
        model: the callable that decides the answers. It takes one `ModelRequest`, and is called on OS threads of the
            server. By default, the answer repeats the user's message.
        host: the address to listen on. It must be a loopback address if there is no `api_key`.
        port: the port to listen on; 0 for a free port, which is part of `base_url`.
        database: the path of an SQLite file that keeps everything across restarts, even unfinished runs and background
            responses. By default, everything is in memory.
        api_key: the key that clients must send as their bearer token or in the header `api-key`. Or a callable that
            gets each key that a client sends, and returns whether the key is valid; so keys can expire. Without an
            `api_key`, the server refuses requests that browsers send for pages of other sites.
        allow_origins: the origins of the pages of other sites that may use the server.
        model_workers: the maximum number of simultaneous calls of the model. Further turns wait in order.
        run_expires_after: the age in seconds at which an unfinished run expires, and an unfinished response fails.
        item_lag: the seconds between the end of a response and the time from which its items are listed in its
            conversation. Real servers also list items late.
        chaos: the faults that are injected into requests.
        on_request: a callable that gets each request when its HTTP answer begins, on OS threads of the server.
        request_log_level: the level of the log line that each request gets. The line has no text of messages.
        strict_schemas: True if a run or response must fail when the client asked for JSON, but the answer is not valid
            JSON or does not fit the schema.

    The server offers two APIs, Assistants v2 and Responses with Conversations, with files for both. It asks the model
    in the same way for both. It behaves like the real service, with one convenience. A run may name an assistant that
    was never created, if the assistant's id starts with `asst_`; such an assistant has no instructions and no tools.
    The id of a deleted assistant is unknown, and so is every id that does not start with `asst_`.

    A wrong argument raises `TypeError` or `ValueError`. A server that cannot start changes nothing, and raises one of
    these errors:

    - `OSError`: the address is in use.
    - `DatabaseInUseError` (an `OSError`): another server uses the file.
    - `sqlalchemy.exc.DatabaseError`: `database` is not an SQLite file of such a server, or another program keeps the
      file locked.
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        database: str | os.PathLike[str] | None = None,
        api_key: str | Callable[[str], bool] | None = None,
        allow_origins: Iterable[str] = (),
        model_workers: int = 256,
        run_expires_after: float = 600.0,
        item_lag: float = 0.0,
        chaos: Chaos | None = None,
        on_request: Callable[[SeenRequest], object] | None = None,
        request_log_level: int = logging.DEBUG,
        strict_schemas: bool = False,
    ) -> None:
        arguments.check_callable("A model", model, "takes one ModelRequest")
        arguments.check_type("host", host, str, "a str")
        arguments.check_whole("port", port, 0, 65_535)
        arguments.check_database(database)
        arguments.check_key(api_key)
        arguments.check_whole("model_workers", model_workers, 1)
        arguments.check_seconds("run_expires_after", run_expires_after, may_be_zero=False)
        arguments.check_seconds("item_lag", item_lag, may_be_zero=True)
        arguments.check_type("chaos", chaos, Chaos | None, "a Chaos")
        arguments.check_callable("on_request", on_request, "takes one SeenRequest")
        arguments.check_type("request_log_level", request_log_level, int, "a number such as logging.INFO")
        access.check_options(host, api_key)
        allowed = access.origins(allow_origins)
        self._origin, self._host = Origin("LocalServer"), host
        self._closing, self._closed = threading.Lock(), False
        with contextlib.ExitStack() as failed:
            # Bind first: a server that cannot listen must not change the file, which another server may use.
            listening = failed.enter_context(bind(host, port))
            self._storage = Storage(database)
            failed.callback(self._storage.close)
            model = model or echo
            self._workers = Workers(self._storage, model, _JOB_KINDS, model_workers, strict_schemas=strict_schemas)
            failed.callback(self._workers.close, _PATIENCE)
            check = access.site_check(allowed) if api_key is None else access.key_check(api_key)
            app = self._application(check, run_expires_after, item_lag, request_log_level)
            self._chaos = None if chaos is None else ChaosApplication(app, chaos, request_log_level)
            app = _around(self._chaos or app, on_request, allowed)
            self._http = _http_server(app, listening, allowed)
            failed.callback(self._http.close, _PATIENCE)
            self._begin()
            failed.pop_all()
        self._http.accept()

    def _begin(self) -> None:
        self._workers.start()
        self._http.start()
        # Recover last: a server that cannot start must not change the file.
        self._workers.recover()

    def _application(
        self, check_access: Callable[[], None], lifetime: float, item_lag: float, request_log_level: int
    ) -> WSGIApplication:
        return create_app(
            assistant_routes.blueprint(self._storage, self._workers, lifetime),
            response_routes.blueprint(self._storage, self._workers, lifetime, item_lag),
            file_routes.blueprint(self._storage),
            unsupported.blueprint(),
            check_health=self._check_health,
            errors=STORAGE_ERRORS,
            check_access=check_access,
            log_level=request_log_level,
        )

    def _check_health(self) -> None:
        """Raise if the storage cannot be used now."""
        with self._storage.transaction(_HEALTH_PATIENCE):
            pass

    @property
    def base_url(self) -> str:
        """The address of the API, such as `http://127.0.0.1:49152/v1`."""
        # A server that listens on all addresses can be reached at the loopback address.
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self._http.port}/v1"

    def close(self) -> None:
        """Stop listening, hang up, end all OS threads and close the database, all within about a second.

        If a model has not finished a turn, the turn stays unchanged in the database, and the next server on the same
        file resumes it. A model that hangs keeps its OS thread (a daemon), but its result is dropped. May be called
        from any OS thread, even by a model, and more than once. In a process that was forked after the construction,
        `close` does nothing, because the server still runs in the parent process, and serves both processes.
        """
        if self._origin.was_forked:
            return
        with self._closing:
            if not self._closed:
                # Every part is closed, even if closing another part is interrupted. A part may be closed twice.
                with contextlib.ExitStack() as parts:
                    parts.callback(self._storage.close)
                    parts.callback(self._http.close, _PATIENCE)
                    # Stop the workers first, which also ends the requests that wait for them.
                    parts.callback(self._workers.close, _PATIENCE)
                    if self._chaos is not None:
                        parts.callback(self._chaos.close)
                self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalServer {self.base_url}{' closed' if self._closed else ''}>"


def _http_server(app: WSGIApplication, listening: socket.socket, allowed: frozenset[str]) -> HttpServer:
    """Return the HTTP server of the application. It does not accept connections yet."""
    return HttpServer(
        app,
        listening,
        threads=_HTTP_THREADS,
        reserved=HEALTH,
        # Waitress does not read a body that it refuses, which some clients cannot handle. So the limit of waitress is
        # higher than that of the application.
        max_body=4 * MAX_BODY,
        refusal_headers=partial(cors_headers, allowed=allowed),
    )


def _around(
    app: WSGIApplication, on_request: Callable[[SeenRequest], object] | None, allowed: frozenset[str]
) -> WSGIApplication:
    """Return the application in wrappers that record requests and add headers for pages of the allowed origins."""
    recorded = app if on_request is None else Recorder(app, on_request)
    return Cors(recorded, allowed) if allowed else recorded
