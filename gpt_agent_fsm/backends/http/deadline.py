"""A deadline for a whole request.

The timeout of `requests` starts anew with each byte, so that a trickling answer would block its reader forever. Here
every wait for the network gets only the rest of the request's time. A caller whose request may become pointless gives a
function that is called while nothing arrives.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import wait_for_read

__all__ = ["DeadlineAdapter", "set_deadline", "was_connecting"]

_CHECK_INTERVAL = 0.05
"""Seconds between two calls of `check` while nothing arrives."""


class _Current(threading.local):
    """The request that this OS thread is making."""

    until = 0.0
    check: Callable[[], object] | None = None
    connecting = False


_current = _Current()


def set_deadline(seconds: float, check: Callable[[], object] | None = None) -> None:
    """Set the deadline of this OS thread's next request or read, `seconds` from now.

    `check` is called before each read and every 50 ms while a read waits; an exception from it ends the request.
    """
    _current.until = time.monotonic() + seconds
    _current.check = check
    _current.connecting = False


def was_connecting() -> bool:
    """Return whether the last request of this OS thread failed before a byte of it was sent."""
    return _current.connecting


def _remaining() -> float:
    seconds = _current.until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


class _DeadlineReader(io.RawIOBase):
    def __init__(self, raw: Any, sock: Any) -> None:  # noqa: ANN401 - plain or TLS sockets
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        if _current.check is not None:
            self._wait(_current.check)
        self._sock.settimeout(_remaining())
        count: int | None = self._raw.readinto(buffer)
        return count

    def _wait(self, check: Callable[[], object]) -> None:
        """Return when something has arrived or the time is over."""
        while time.monotonic() < _current.until:
            check()
            if self._has_arrived():
                return

    def _has_arrived(self) -> bool:
        if not isinstance(self._sock, socket.socket):
            return True  # TLS within TLS, through a proxy: it buffers bytes of its own, so that only a read can tell
        kept = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        return kept or wait_for_read(self._sock, _CHECK_INTERVAL)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        _current.connecting = True
        super().connect()
        _current.connecting = False

    def _new_conn(self) -> socket.socket:
        self.timeout = _remaining()
        connected = super()._new_conn()
        connected.settimeout(_remaining())
        return connected

    def send(self, data: Any) -> None:  # noqa: ANN401 - as its base class
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_remaining())
        super().send(data)


# `connect` and the like come from `_Connection`, whose `super()` is then the secure one.
class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class DeadlineAdapter(HTTPAdapter):
    """Sends requests within the deadline of `set_deadline`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        """Make the pools; for `HTTPAdapter` to call."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as its base class
        """Return the pools behind a proxy; for `HTTPAdapter` to call."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
