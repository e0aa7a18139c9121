"""Finds out whether somebody has replaced the methods of `requests`, urllib3 or `http.client`, or reads their records.

Tests, recorders and tracers do so, and must see each request. So a request may only leave out what nobody watches.
"""

from __future__ import annotations

import functools
import http.client
import logging
from types import FunctionType, ModuleType

import requests.adapters
import requests.sessions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, connection, connectionpool
from urllib3.connection import HTTPConnection

from gpt_agent_fsm.backends.http.quiet import is_asked_for

__all__ = ["http_client_is_watched", "requests_is_watched", "urllib3_is_watched"]

_log = logging.getLogger("urllib3.connectionpool")


def requests_is_watched(session: requests.Session) -> bool:
    """Return whether somebody has replaced the methods of `requests` that send."""
    return (
        "send" in vars(session)
        or not _are_original((vars(requests.Session).get("send"),), requests.sessions)
        or not _are_original((vars(HTTPAdapter).get("send"),), requests.adapters)
    )


def urllib3_is_watched(pool: HTTPConnectionPool) -> bool:
    """Return whether somebody has replaced the methods of urllib3 that send, or reads its records about requests."""
    kind = type(pool)
    if not _are_original((HTTPConnection.request, HTTPConnection.getresponse), connection):
        return True
    if not _are_original((kind.urlopen, kind._make_request), connectionpool):
        return True
    return _log.isEnabledFor(logging.DEBUG) and is_asked_for(_log.name)


def http_client_is_watched() -> bool:
    """Return whether somebody has replaced the methods of `http.client` through which a request goes, or prints it."""
    kind = http.client.HTTPConnection
    methods = (kind.putrequest, kind.putheader, kind.endheaders, kind.send, kind.getresponse)
    return kind.debuglevel > 0 or not _are_original(methods, http.client)


@functools.lru_cache(maxsize=16)
def _are_original(functions: tuple[object, ...], module: ModuleType) -> bool:
    """Return whether all functions were defined in the module.

    Their code is compared, because this module may have been imported after they were replaced. Some wrappers show the
    code of the function that they wrap, but are objects of another type.
    """
    return all(type(each) is FunctionType and each.__code__.co_filename == module.__file__ for each in functions)
