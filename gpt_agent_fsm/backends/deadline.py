"""A deadline for a whole request.

The time-out of `requests` starts anew with each byte, so that an answer that trickles keeps its reader for ever. Here
every read gets only what is left of the request's time.
"""

from __future__ import annotations

import http.client
import io
import threading
import time
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["DeadlineAdapter", "set_deadline"]

_current = threading.local()
_LEAST = 0.001


def set_deadline(seconds: float) -> None:
    """Let the request that this thread makes next end within `seconds`."""
    _current.until = time.monotonic() + seconds


def _remaining() -> float:
    return max(float(_current.until) - time.monotonic(), _LEAST)


class _DeadlineReader(io.RawIOBase):
    def __init__(self, raw: Any, sock: Any) -> None:  # noqa: ANN401 - plain or TLS sockets
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        self._sock.settimeout(_remaining())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class DeadlineAdapter(HTTPAdapter):
    """Sends requests that keep to the deadline of `set_deadline`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        """Make the pools; for `HTTPAdapter` to call."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as its base class
        """Return the pools behind a proxy; for `HTTPAdapter` to call."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
