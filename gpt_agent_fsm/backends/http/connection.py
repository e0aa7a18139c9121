"""Connections that keep a deadline, and that know whether anything was sent or read.

The timeout of `requests` starts again with each byte and with each address of a host. So an HTTP answer that arrives
byte by byte could block its reader forever. Here each exchange (a request and its HTTP answer) has a deadline, and each
wait for the network ends at this deadline.

The first request over a connection goes through urllib3. Later ones are sent the short way; see `short_way`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HeaderParsingError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
)
from urllib3.util.response import assert_header_parsing

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.reading import Response, holds_decrypted_bytes, prepare_read
from gpt_agent_fsm.backends.http.short_way import MAX_SHORT, Arriving, Forms, ShortAnswer
from gpt_agent_fsm.backends.http.turns import paused
from gpt_agent_fsm.backends.http.watchers import http_client_is_watched

__all__ = ["Connection", "SecureConnection", "ask", "disconnect"]

_TLS_PATIENCE = 1.0
"""Seconds of silence after which a server is suspected of plain HTTP."""
_MAX_JOINED = 8_192
"""The maximum size in bytes of a body that is sent together with the head of its request. Sending such a short request
does not wait for the network, because the operating system buffers the request."""
_STATUS_LINE = len(b"HTTP/1.1 200")
_BLANKS = " \t"
_CLOSED = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)


class Connection(HTTPConnection):
    """A connection for plain HTTP. Each of its waits ends at the deadline of the exchange."""

    response_class = Response
    _is_connecting = False
    _head: bytes | None = None
    """The head of a request, until it is sent together with the beginning of the body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        super().__init__(*args, **kwargs)
        self._forms = Forms()
        self._learn: Callable[[bytes], None] | None = None

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401 - as its base class
        headers: Any = None,  # noqa: ANN401 - as its base class
        **kwargs: Any,  # noqa: ANN401 - as its base class
    ) -> None:
        """See the base class. Learn what the head looks like, so that `ask` can make the next ones."""
        self._head = b""
        if (body is None or isinstance(body, bytes)) and not http_client_is_watched():
            self._learn = functools.partial(self._forms.learn, method, headers or {}, body)
        try:
            super().request(method, url, body, headers, **kwargs)
            if self._head:
                self.send(b"")
        finally:
            self._head = self._learn = None

    def ask(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], *, in_pieces: bool
    ) -> ShortAnswer | urllib3.HTTPResponse | None:
        """Send a request the short way, and return its answer. Send nothing and return None if `request` must send it.

        The connection must be open. If the answer is wanted `in_pieces`, return it before its body has arrived.
        """
        head = self._forms.head(method, target, headers, body)
        if head is None:
            return None
        self._head = b""
        try:
            self.send(head)
            self.send(body or b"")
        except OSError as error:
            # As in urllib3: a server may answer and close the connection before it has read the whole request.
            if error.errno not in _CLOSED:
                raise
        finally:
            self._head = None
        return self._unusual(method, b"") if in_pieces else self._receive(method)

    def _receive(self, method: str) -> ShortAnswer | urllib3.HTTPResponse:
        arriving = Arriving()
        may_be_short = True
        while may_be_short and arriving.answer is None:
            prepare_read(self.sock)
            with paused():
                piece = self.sock.recv(MAX_SHORT) or b""  # TLS within TLS may end with a zero
            may_be_short = arriving.add(piece)
        if arriving.answer is None or holds_decrypted_bytes(self.sock):
            return self._unusual(method, arriving.received)
        return arriving.answer

    def _unusual(self, method: str, received: bytes) -> urllib3.HTTPResponse:
        """Read the head of an answer with `http.client`, and return the answer as urllib3 does."""
        answer = Response(self.sock, method=method, received=received)
        try:
            answer.begin()
            _warn_of_defects(answer)
            if answer.will_close:
                self.close()  # the answer keeps the socket open
            return urllib3.HTTPResponse(
                body=answer,
                headers=HTTPHeaderDict((name, _on_one_line(str(value))) for name, value in answer.msg.items()),
                status=answer.status,
                version=answer.version,
                reason=answer.reason,
                preload_content=False,
                original_response=answer,
                connection=self,
                request_method=method,
            )
        except BaseException:
            answer.close()
            raise

    def connect(self) -> None:
        """See the base class."""
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
        """See the base class. Send the head together with the beginning of the body."""
        if self.sock is None:
            self.connect()
        if self._is_connecting:
            # These bytes are for a proxy and not a part of the request.
            exchange.limit(self.sock, exchange.seconds_left())
            super().send(data)
        elif self._head == b"":
            self._head = data  # the body follows, or the end of `request`
            if self._learn is not None:
                self._learn(data)
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


def _on_one_line(value: str) -> str:
    """Return the value of a header whose lines are joined by a space (RFC 9112, 5.2)."""
    return functools.reduce(lambda text, line: f"{text.rstrip(_BLANKS)} {line.lstrip(_BLANKS)}", value.split("\r\n"))


def _warn_of_defects(answer: http.client.HTTPResponse) -> None:
    try:
        assert_header_parsing(answer.msg)
    except HeaderParsingError as error:
        logging.getLogger("urllib3.connection").warning("Failed to parse headers: %s", error, exc_info=True)


# `connect` and similar methods come from `Connection`. Their `super()` is `HTTPSConnection` here.
class SecureConnection(Connection, HTTPSConnection):
    """A connection for TLS. It recognises a server of plain HTTP."""

    _is_direct = True
    """False if a SOCKS proxy is between the program and the server."""
    _patience: float | None = None
    """How many seconds the server may be silent during the handshake. None means until the deadline."""

    def connect(self) -> None:
        """See the base class."""
        # A server of plain HTTP takes the first bytes of TLS for the beginning of a request, and waits for the rest.
        self._patience = _TLS_PATIENCE if self.proxy is None and self._is_direct else None
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


def ask(
    pool: urllib3.HTTPConnectionPool,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    in_pieces: bool,
) -> ShortAnswer | urllib3.HTTPResponse | None:
    """Send a request over an open connection of the pool, and return its answer.

    Send nothing and return None if the pool has no open connection, or if only `urlopen` can send the request. If the
    answer is wanted `in_pieces`, it is never a `ShortAnswer`.
    """
    connection = pool._get_conn()
    try:
        answer = None
        if isinstance(connection, Connection) and not connection.is_closed:
            answer = connection.ask(method, target, body, headers, in_pieces=in_pieces)
    except BaseException as error:
        connection.close()
        pool._put_conn(None)
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
            raise ProtocolError("Connection aborted.", error) from error
        raise
    if isinstance(answer, urllib3.HTTPResponse):
        answer._pool = pool  # it gives the connection back when it was read
    else:
        pool._put_conn(connection)
    return answer


def disconnect(pool: urllib3.HTTPConnectionPool) -> None:
    """Close the idle connection of the pool, so that the next request makes a new connection."""
    connection = pool._get_conn()
    connection.close()
    pool._put_conn(connection)
