"""Connections through a SOCKS proxy. They need the package PySocks.

They keep the deadline of an exchange, with one exception: while the connection is made, each wait for the proxy may
take all the time that was left when it began.
"""

from __future__ import annotations

import socket

import urllib3
from urllib3.contrib.socks import (
    SOCKSConnection,
    SOCKSHTTPConnectionPool,
    SOCKSHTTPSConnection,
    SOCKSHTTPSConnectionPool,
)

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.connection import Connection, SecureConnection

__all__ = ["POOLS"]


class _SocksConnection(SOCKSConnection, Connection):
    def _new_conn(self) -> socket.socket:
        # The proxy decides to which address of the host it connects.
        self.timeout = exchange.seconds_left()
        connected: socket.socket = super()._new_conn()
        try:
            connected.settimeout(exchange.seconds_left())
        except BaseException:
            connected.close()
            raise
        return connected


class _SecureSocksConnection(_SocksConnection, SecureConnection, SOCKSHTTPSConnection):
    _is_direct = False


class _Pool(SOCKSHTTPConnectionPool):
    ConnectionCls = _SocksConnection


class _SecurePool(SOCKSHTTPSConnectionPool):
    ConnectionCls = _SecureSocksConnection


POOLS: dict[str, type[urllib3.HTTPConnectionPool]] = {"http": _Pool, "https": _SecurePool}
