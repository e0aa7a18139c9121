"""The health of a worker over HTTP, for a supervisor and a load balancer, and its metrics for Prometheus."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import attrs

from gpt_agent_fsm.cluster.cluster import Cluster
from gpt_agent_fsm.runtime import Runtime

__all__ = ["serve_health"]


class _Server(http.server.ThreadingHTTPServer):
    """A server of two paths."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], cluster: Cluster, metrics: Any) -> None:  # noqa: ANN401 - a registry
        self.cluster = cluster
        self.metrics = metrics
        super().__init__(address, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/healthz` with 200, or 503 while the worker may send no requests, and `/metrics`."""

    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path == "/healthz":
            status = self.server.cluster.worker
            known = {} if status is None else attrs.asdict(status)
            self._answer(200 if status is not None and status.is_alive else 503, json.dumps(known), "application/json")
        elif self.path == "/metrics" and self.server.metrics is not None:
            from prometheus_client import generate_latest  # noqa: PLC0415 - an extra

            self._answer(200, generate_latest(self.server.metrics).decode(), "text/plain; version=0.0.4")
        else:
            self._answer(404, "", "text/plain")

    def _answer(self, code: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests: a supervisor makes many."""


@contextlib.contextmanager
def serve_health(runtime: Runtime, cluster: Cluster, host: str, port: int) -> Iterator[str]:
    """Serve `/healthz`, and `/metrics` if the extra `prometheus` is installed, until the `with` block ends.

    Yields the address. Port 0 means a free port. Raises `OSError` if the port is in use.
    """
    with contextlib.ExitStack() as stack:
        metrics = stack.enter_context(_instrumented(runtime))
        server = stack.enter_context(_Server((host, port), cluster, metrics))
        loop = threading.Thread(target=server.serve_forever, name="gpt-agent-fsm-health", daemon=True)
        loop.start()
        stack.callback(server.shutdown)
        yield f"http://{host}:{server.server_address[1]}/"


@contextlib.contextmanager
def _instrumented(runtime: Runtime) -> Iterator[Any]:
    """Yield the registry of the runtime's metrics, or None without the extra."""
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra

        from gpt_agent_fsm.telemetry import prometheus  # noqa: PLC0415 - an extra
    except ImportError:
        yield None
        return
    registry = CollectorRegistry()
    with prometheus.instrument(runtime, registry):
        yield registry
