"""Sends requests over the connections of one OS thread, and returns the HTTP answers before their bodies are read.

The package `requests` costs more than everything else that is done for a request. So a request goes straight to the
connections of our adapter, unless `requests` would treat it in another way: because of an `AuthBase`, or because a test
or a tool has replaced `Session.send`, the adapter of the address, or `HTTPAdapter.send`.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import requests
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Retry
from urllib3.exceptions import ProtocolError

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.adapter import Adapter
from gpt_agent_fsm.backends.http.checks import Proxy
from gpt_agent_fsm.backends.http.connection import ask, disconnect
from gpt_agent_fsm.backends.http.reading import interrupt
from gpt_agent_fsm.backends.http.short_way import ShortAnswer
from gpt_agent_fsm.backends.http.turns import Turns, give_up
from gpt_agent_fsm.backends.http.watchers import http_client_is_watched, requests_is_watched, urllib3_is_watched
from gpt_agent_fsm.forks import Origin

__all__ = ["HttpRequest", "Incoming", "Transport"]

_PIECE = 65_536
_DISTRUST = 600.0
"""How many seconds after a lost connection each request that changes the server has a new connection. Some servers
close a connection just after an answer and do not announce it. The next request may then be lost, and only requests
that do not change the server can simply be repeated."""
_NO_RETRIES = Retry(False)


@attrs.frozen
class HttpRequest:
    """A request, before it gets credentials from `auth`.

    Attributes:
        target: the path below the base URL, with the query.
        asks_for_events: True if the answer may be a stream of events.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    asks_for_events: bool = False


class Incoming:
    """An HTTP answer whose body was not read yet."""

    __slots__ = ("_raw", "_response", "headers", "status")

    def __init__(self, response: BaseHTTPResponse | requests.Response) -> None:
        self._response = response
        self.headers: Mapping[str, str] = response.headers
        self.status: int
        self._raw: BaseHTTPResponse
        if isinstance(response, requests.Response):
            self.status, self._raw = response.status_code, response.raw
        else:
            self.status, self._raw = response.status, response

    def read(self, limit: int) -> bytes:
        """Return the decompressed body. If it is longer than `limit`, stop reading soon and close the connection."""
        try:
            length = self._raw.length_remaining if self._response is self._raw else None
            if length is not None and length <= limit and "content-encoding" not in self.headers:
                return self._raw.read()
            pieces, size = [], 0
            for piece in self._pieces():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    break
            return b"".join(pieces)
        finally:
            self.close()

    def read_piece(self) -> bytes:
        """Wait for more of the decompressed body, and return it. Return b"" at the end."""
        return self._raw.read1(_PIECE, decode_content=True)

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self._response, requests.Response):
            # An `AuthBase` may already have read the body.
            return self._response.iter_content(_PIECE)
        return self._raw.stream(_PIECE, decode_content=True)

    def close(self) -> None:
        """Close the connection, unless the whole body was read: then the connection can be used again. Idempotent."""
        if self._response is not self._raw:
            self._response.close()
        else:
            if not self._raw.closed:
                self._raw.close()
            self._raw.release_conn()

    def interrupt(self) -> None:
        """End the connection, unless the whole body was read. May be called from any OS thread."""
        interrupt(self._raw)


class _Whole(Incoming):
    """A short answer, whose body has arrived with its head. Its connection is already free."""

    __slots__ = ("_body",)

    def __init__(self, answer: ShortAnswer) -> None:
        self.status, self.headers, self._body = answer

    def read(self, limit: int) -> bytes:
        return self._body

    def read_piece(self) -> bytes:
        piece, self._body = self._body, b""
        return piece

    def close(self) -> None:
        pass

    def interrupt(self) -> None:
        pass


class _Session(requests.Session):
    """The connections of one OS thread.

    Attributes:
        route: the pool of connections to the server, and the part of each target that comes before the path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.mount("http://", Adapter())
        self.mount("https://", Adapter())
        self.route: tuple[HTTPConnectionPool, str] | None = None

    def close(self) -> None:
        """Close the connections. The next request makes new connections."""
        self.route = None
        super().close()

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[requests.Response]:  # noqa: ANN401 - as its base
        """Follow no redirect. Its address is not even read, because reading an invalid address raises an error."""
        return iter(())


class Transport:
    """Sends requests to one server. Safe to use from any OS thread.

    Args:
        template: a request to the base URL with the headers of each request. It is prepared only once, because
            `requests` would prepare every request, and read the environment again each time.
        verify: as in `requests`.
    """

    def __init__(self, template: requests.PreparedRequest, proxy: Proxy, verify: str | bool) -> None:
        self._template = template
        self._root = str(template.url).rstrip("/")
        self._proxy = proxy
        self._verify = verify
        self._distrusts_until = -math.inf
        self._forget_connections()

    def _forget_connections(self) -> None:
        """Have no connections, as at the start or after a fork. From now on, this process makes the connections."""
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.turns: Turns = Turns()
        # This is set last. If another OS thread sees the new value, the other fields are new, too.
        self._origin = Origin("backend")

    def prepared(self, request: HttpRequest) -> requests.PreparedRequest:
        """Return the request in the form of `requests`."""
        prepared = self._template.copy()
        prepared.method, prepared.url = request.method, self._root + request.target
        prepared.headers.update(request.headers)
        if request.body is not None:
            prepared.body = request.body
            prepared.headers["Content-Length"] = str(len(request.body))
        return prepared

    def open(self, request: HttpRequest | requests.PreparedRequest, seconds: float) -> Incoming:
        """Send a request within the limits of this OS thread's exchange, and return its answer.

        The connection shortens the timeout `seconds` to the remaining time. Raises what `requests` or urllib3 raises.
        """
        session, method = self.session(), str(request.method)
        if method != "GET" and time.monotonic() < self._distrusts_until:
            if session.route is not None:
                disconnect(session.route[0])
            else:
                session.close()
        try:
            return self._send(session, request, seconds)
        except (ConnectionError, ProtocolError, requests.ConnectionError):
            if exchange.was_sent() is not False:
                self._distrusts_until = time.monotonic() + _DISTRUST
            raise

    def _send(self, session: _Session, request: HttpRequest | requests.PreparedRequest, seconds: float) -> Incoming:
        adapter = session.get_adapter(self._root)
        is_foreign = type(adapter) is not Adapter or requests_is_watched(session)
        if is_foreign:
            give_up()
        if isinstance(request, HttpRequest):
            if isinstance(adapter, Adapter) and not is_foreign:
                return self._ask(session, adapter, request, seconds)
            request = self.prepared(request)
        return Incoming(
            session.send(
                request,
                # A timeout of zero would raise another error.
                timeout=max(seconds, 0.001),
                allow_redirects=False,
                proxies=self._proxy.choices,
                verify=self._verify,
                stream=True,
            )
        )

    def _ask(self, session: _Session, adapter: Adapter, request: HttpRequest, seconds: float) -> Incoming:
        exchange.prepare(request.method)
        pool, before = session.route or self._route(session, adapter)
        method, target, body, headers = request.method, before + request.target, request.body, request.headers
        answer = None
        if urllib3_is_watched(pool) or http_client_is_watched():
            give_up()
        else:
            answer = ask(pool, method, target, body, headers, in_pieces=request.asks_for_events)
        if isinstance(answer, ShortAnswer):
            return _Whole(answer)
        response = answer or pool.urlopen(
            method,
            target,
            body=body,
            headers=headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=max(seconds, 0.001),
            preload_content=False,
        )
        return Incoming(response)

    def _route(self, session: _Session, adapter: Adapter) -> tuple[HTTPConnectionPool, str]:
        proxies = self._proxy.choices
        pool: Any = adapter.get_connection_with_tls_context(self._template, self._verify, proxies=proxies)
        adapter.cert_verify(pool, self._root, self._verify, None)  # type: ignore[no-untyped-call]
        route = session.route = pool, adapter.request_url(self._template, proxies).rstrip("/")
        return route

    def close(self) -> None:
        """Close the connections of all OS threads. Idempotent."""
        if self._origin.was_forked:
            return
        with self._lock:
            for session in list(self._sessions):
                session.close()

    def session(self) -> _Session:
        """Return the session of this OS thread."""
        if self._origin.was_forked:
            # This is the child. With the parent's connections, each process could read HTTP answers to the other.
            self._forget_connections()
        session: _Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session()
            with self._lock:
                self._sessions.add(session)
        return session
