"""Cross-origin resource sharing (CORS): lets the pages of allowed origins read the answers of a server."""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from gpt_agent_fsm.local.http.access import ANY

_METHODS = "GET, POST, DELETE"
_EXPOSED = "Retry-After, X-Request-Id"
_REMEMBERED = "600"
"""Seconds for which a browser may remember the answer to a preflight request."""


def cors_headers(origin: str | None, allowed: frozenset[str]) -> list[tuple[str, str]]:
    """Return the response headers for a request of this origin. A page of an allowed origin may read the answer."""
    # A cache must not give the answer for one origin to a page of another origin.
    headers = [("Vary", "Origin")] if allowed else []
    if origin is not None and _is_allowed(origin, allowed):
        headers += [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED)]
    return headers


def _is_allowed(origin: str, allowed: frozenset[str]) -> bool:
    return not allowed.isdisjoint({origin, ANY})


class Cors:
    """Wraps an application. Answers preflight requests of allowed origins, and adds CORS headers to other answers."""

    def __init__(self, application: WSGIApplication, allowed: frozenset[str]) -> None:
        self._application = application
        self._allowed = allowed

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request. The WSGI server calls this method."""
        origin = environ.get("HTTP_ORIGIN")
        headers = cors_headers(origin, self._allowed)
        is_preflight = environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        if is_preflight and origin is not None and _is_allowed(origin, self._allowed):
            start_response("204 No Content", headers + _preflight(environ))
            return []

        def start(status: str, given: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:  # noqa: ANN401 - as WSGI has it
            return start_response(status, given + headers, *rest)

        return self._application(environ, start)


def _preflight(environ: WSGIEnvironment) -> list[tuple[str, str]]:
    """Return the response headers that tell the browser what a page may send.

    Every request header is allowed, because client libraries add many of their own.
    """
    headers = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _REMEMBERED)]
    if asked := environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS"):
        headers.append(("Access-Control-Allow-Headers", asked))
    if environ.get("HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK") == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return headers
