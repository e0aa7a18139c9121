"""The adapter of `requests` that makes the connections of this package, directly or through a proxy."""

from __future__ import annotations

from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.connection import Connection, SecureConnection

__all__ = ["Adapter"]


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = SecureConnection


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
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        else:
            from gpt_agent_fsm.backends.http.socks_proxy import POOLS  # noqa: PLC0415 - an extra

            manager.pool_classes_by_scheme = POOLS
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        """Send a request, and record whether any byte of it was sent."""
        exchange.prepare(str(request.method))
        return super().send(request, *args, **kwargs)
