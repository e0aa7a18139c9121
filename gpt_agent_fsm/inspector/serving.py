"""Serves the inspector on this machine, for one person at a time.

Each live page holds a connection for as long as it is open. Werkzeug's server has one OS thread for each connection,
and comes with Flask. Waitress has a fixed number of them, so a few open pages would block it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from werkzeug.serving import WSGIRequestHandler, make_server

from gpt_agent_fsm.inspector.application import Inspector
from gpt_agent_fsm.logs import Log, get_logger

__all__ = ["serve"]

log: Log = get_logger(__name__)

_HOST = "127.0.0.1"
_POLL = 0.05
"""Seconds after which the server notices that it should stop."""


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    """Seconds after which an idle connection is closed."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do not log requests: a person who watches the pages makes many."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Log under the name of this package."""
        log.warning(message, *args)


@contextlib.contextmanager
def serve(application: Inspector, port: int = 0) -> Iterator[str]:
    """Serve the inspector on 127.0.0.1 until the `with` block ends, and yield its address.

    Port 0 means a free port. Raises `OSError` if the port is in use. The requests are answered on OS threads of the
    server.
    """
    with socket.create_server((_HOST, port)) as listening:
        # The server uses a copy of the socket. If it bound the port itself, it would end the process for a port in use.
        server = make_server(_HOST, port, application, threaded=True, request_handler=_Handler, fd=listening.fileno())
    application.closing.clear()
    loop = threading.Thread(target=server.serve_forever, args=(_POLL,), name="inspector", daemon=True)
    loop.start()
    try:
        yield f"http://{_HOST}:{server.port}/"
    finally:
        application.closing.set()
        server.shutdown()
        loop.join()
        server.server_close()
