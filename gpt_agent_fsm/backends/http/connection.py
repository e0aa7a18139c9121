"""Connections that keep a deadline, and that know whether anything was sent or read.

The timeout of `requests` starts again with each byte and with each address of a host. So an HTTP answer that arrives
byte by byte could block its reader forever. Here each exchange (a request and its HTTP answer) has a deadline, and each
wait for the network ends at this deadline.

An HTTP answer does not name its request: it belongs to the last request on the connection. So interim answers are
skipped (RFC 9110, 15.2). If data follow the end of an answer, the connection is not used again.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import wait_for_read

from gpt_agent_fsm.backends.http import exchange, headers
from gpt_agent_fsm.backends.http.turns import paused

__all__ = ["Adapter", "interrupt"]

_TLS_PATIENCE = 1.0
"""Seconds of silence after which a server is suspected of plain HTTP."""
_MAX_JOINED = 8_192
"""The maximum size in bytes of a body that is sent together with the head of its request. Sending such a short request
does not wait for the network, because the operating system buffers the request."""
_STATUS_LINE = len(b"HTTP/1.1 200")
_CHECK_INTERVAL = 0.05
"""Seconds between two calls of the exchange's `check` while nothing arrives."""


class _Reader(io.RawIOBase):
    """Reads from a socket within the limits of the exchange, which is a request and its HTTP answer."""

    def __init__(self, raw: Any, sock: Any) -> None:  # noqa: ANN401 - plain or TLS sockets
        self._raw = raw
        self._sock = sock
        self.broke_off = False
        """True if the server has ended the connection."""
        self.at_end = False
        """True if the answer is complete, so that there is nothing to wait for."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        if self.at_end:
            return None
        if (check := exchange.check()) is not None:
            self._wait(check)
        exchange.limit(self._sock, exchange.seconds_left())
        with paused():
            count: int | None = self._raw.readinto(buffer)
        self.broke_off = count == 0
        return count

    def _wait(self, check: Callable[[], object]) -> None:
        """Wait until data have arrived, or until the deadline."""
        with paused():
            while exchange.seconds_left() > 0:
                check()
                if self._has_arrived():
                    return

    def _has_arrived(self) -> bool:
        if not isinstance(self._sock, socket.socket):
            return True  # TLS within TLS, through a proxy, has a buffer: only a read shows whether it holds data
        return _holds_decrypted_bytes(self._sock) or wait_for_read(self._sock, _CHECK_INTERVAL)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _holds_decrypted_bytes(sock: Any) -> bool:  # noqa: ANN401 - plain or TLS sockets
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        self._reader = _Reader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._reader)
        self._end_lock = threading.Lock()
        """Held while the answer ends. After its end, the connection may belong to another request."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in typeshed
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        headers.begin(self)
        if self._reader.broke_off:
            # The head of the answer is incomplete, so it proves nothing: not even that the request was refused.
            raise http.client.IncompleteRead(b"")
        if self.status == http.client.SWITCHING_PROTOCOLS:
            # The client has not asked for another protocol, but the server would use one from here on.
            self.will_close = True

    def _close_conn(self) -> None:
        if self.fp is not None and self._has_more():
            # The pool notices that this connection is closed, and opens another connection.
            self._shut()
        with self._end_lock:
            super()._close_conn()  # type: ignore[misc]  # not in typeshed

    def _shut(self) -> None:
        """End the connection in both directions. If another OS thread waits for data, its read returns immediately."""
        with contextlib.suppress(OSError):
            # The method of `SSLSocket` would also take the TLS state away from the OS thread that reads.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def interrupt(self) -> None:
        """End the connection, unless the whole answer was read. May be called from any OS thread."""
        with self._end_lock:
            if self.fp is not None:
                self._shut()

    def _has_more(self) -> bool:
        """Return whether any data were received after the end of the answer."""
        self._reader.at_end = True
        return bool(self.fp.peek(1)) or _holds_decrypted_bytes(self._sock)


def interrupt(response: urllib3.BaseHTTPResponse) -> None:
    """End the connection of an answer, unless the whole answer was read. May be called from any OS thread."""
    answer = getattr(response, "_original_response", None)
    if isinstance(answer, _Response):
        answer.interrupt()


class _Connection(HTTPConnection):
    response_class = _Response
    _is_connecting = False
    _head: bytes | None = None
    """The head of a request, until it is sent together with the beginning of the body."""

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        self._head = b""
        try:
            super().request(*args, **kwargs)
            if self._head:
                self.send(b"")
        finally:
            self._head = None

    def connect(self) -> None:
        self._is_connecting = True
        try:
            with paused():
                super().connect()
        finally:
            self._is_connecting = False

    def _new_conn(self) -> socket.socket:
        """Connect to the host.

        Try the host's addresses one after the other. All attempts together must keep the deadline of the exchange.
        """
        failure: Exception | None = None
        name = self._dns_host
        try:
            for address in self._addresses():
                self._dns_host, self.timeout = address, exchange.seconds_left()
                try:
                    connected = super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
                else:
                    connected.settimeout(exchange.seconds_left())
                    return connected
        finally:
            self._dns_host = name
        raise failure or NewConnectionError(self, "the host has no address")

    def _addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror("not a valid host name")
            raise NameResolutionError(self.host, self, reason) from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def send(self, data: Any) -> None:  # noqa: ANN401 - as its base class
        if self.sock is None:
            self.connect()
        if self._is_connecting:
            # These bytes are for a proxy and not a part of the request.
            exchange.limit(self.sock, exchange.seconds_left())
            super().send(data)
        elif self._head == b"":
            self._head = data  # the body follows, or the end of `request`
        else:
            head, self._head = self._head or b"", None
            exchange.limit(self.sock, exchange.let_go())
            if len(data) <= _MAX_JOINED:
                super().send(head + data)
                return
            with paused():
                if head:
                    super().send(head)
                    exchange.limit(self.sock, exchange.seconds_left())
                super().send(data)


# `connect` and similar methods come from `_Connection`. Their `super()` is `HTTPSConnection` here.
class _SecureConnection(_Connection, HTTPSConnection):
    _patience: float | None = None
    """How many seconds the server may be silent during the handshake. None means until the deadline."""

    def connect(self) -> None:
        # A server of plain HTTP takes the first bytes of TLS for the beginning of a request, and waits for the rest.
        self._patience = None if self.proxy is not None else _TLS_PATIENCE
        with paused():
            try:
                super().connect()
            except TimeoutError:
                if self._patience is None:
                    raise
                self._patience = None
                self.close()
                if self._speaks_plain_http():
                    raise ssl.SSLError(1, "it speaks plain HTTP") from None
                super().connect()

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        if self._patience is not None:
            connected.settimeout(min(self._patience, exchange.seconds_left()))
        return connected

    def _speaks_plain_http(self) -> bool:
        """Return whether the server answers a GET of `/` in plain HTTP. Many TLS servers answer with a 400."""
        request = f"GET / HTTP/1.1\r\nHost: {self._dns_host}\r\nConnection: close\r\n\r\n"
        with super()._new_conn() as connected, contextlib.suppress(OSError):
            connected.settimeout(min(_TLS_PATIENCE, exchange.seconds_left()))
            connected.sendall(request.encode("ascii", "replace"))
            answer = connected.recv(_STATUS_LINE, socket.MSG_WAITALL)
            return answer.startswith(b"HTTP/1.") and b" 400" not in answer
        return False


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class Adapter(HTTPAdapter):
    """Sends requests within the limits that were set for this OS thread's current exchange."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        """Make the pools of connections. `HTTPAdapter` calls this method."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as its base class
        """Return the pools of connections through a proxy. `HTTPAdapter` calls this method."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        """Send a request, and record whether any byte of it was sent."""
        exchange.prepare(str(request.method))
        return super().send(request, *args, **kwargs)
