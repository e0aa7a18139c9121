"""Reads HTTP answers within the limits of the exchange, which is a request and its HTTP answer.

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
from typing import Any

import urllib3
from urllib3.util import wait_for_read
from urllib3.util.ssltransport import SSLTransport

from gpt_agent_fsm.backends.http import exchange, headers
from gpt_agent_fsm.backends.http.turns import paused

__all__ = ["Response", "holds_decrypted_bytes", "interrupt", "prepare_read"]

_CHECK_INTERVAL = 0.05
"""Seconds between two calls of the exchange's `check` while nothing arrives."""


def prepare_read(sock: Any) -> None:  # noqa: ANN401 - plain or TLS sockets
    """Limit the next read from a socket. If the exchange has a `check`, wait until data have arrived."""
    if (check := exchange.check()) is not None:
        with paused():
            while exchange.seconds_left() > 0:
                check()
                if _has_arrived(sock):
                    break
    exchange.limit(sock, exchange.seconds_left())


def _has_arrived(sock: Any) -> bool:  # noqa: ANN401 - plain or TLS sockets
    return holds_decrypted_bytes(sock) or wait_for_read(sock, _CHECK_INTERVAL)


class _Reader(io.RawIOBase):
    """Reads from a socket within the limits of the exchange. The bytes that were `received` before come first."""

    def __init__(self, raw: Any, sock: Any, received: bytes) -> None:  # noqa: ANN401 - plain or TLS sockets
        self._raw = raw
        self._sock = sock
        self._received = memoryview(received)
        self.broke_off = False
        """True if the server has ended the connection."""
        self.at_end = False
        """True if the answer is complete, so that there is nothing to wait for."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        if self._received:
            early = len(self._received[: len(buffer)])
            buffer[:early], self._received = self._received[:early], self._received[early:]
            return early
        if self.at_end:
            return None
        prepare_read(self._sock)
        with paused():
            count: int | None = self._raw.readinto(buffer)
        self.broke_off = count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def holds_decrypted_bytes(sock: Any) -> bool:  # noqa: ANN401 - plain or TLS sockets
    """Return whether a TLS socket has received data that nobody has read yet."""
    if isinstance(sock, SSLTransport):  # TLS within TLS, through a proxy
        return bool(sock.incoming.pending or sock.sslobj.pending()) or holds_decrypted_bytes(sock.socket)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class Response(http.client.HTTPResponse):
    """An HTTP answer over a connection. The bytes of it that were `received` before are read first."""

    def __init__(self, sock: Any, *args: Any, received: bytes = b"", **kwargs: Any) -> None:  # noqa: ANN401 - as its base
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        self._reader = _Reader(self.fp.detach(), sock, received)
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
        """Read the head of the answer."""
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
            below = self._sock.socket if isinstance(self._sock, SSLTransport) else self._sock
            socket.socket.shutdown(below, socket.SHUT_RDWR)

    def interrupt(self) -> None:
        """End the connection, unless the whole answer was read. May be called from any OS thread."""
        with self._end_lock:
            if self.fp is not None:
                self._shut()

    def _has_more(self) -> bool:
        """Return whether any data were received after the end of the answer."""
        self._reader.at_end = True
        return bool(self.fp.peek(1)) or holds_decrypted_bytes(self._sock)


def interrupt(response: urllib3.BaseHTTPResponse) -> None:
    """End the connection of an answer, unless the whole answer was read. May be called from any OS thread."""
    answer = getattr(response, "_original_response", None)
    if isinstance(answer, Response):
        answer.interrupt()
