"""The checks that every HTTP server of this library makes: the name of this machine, and the key of a client."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

__all__ = ["bearer_of", "host_of", "is_loopback", "is_same_key", "is_this_machine"]


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on `host` can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(named: str) -> str:
    """Return the host in the value of a header `Host`, without the port; "" if the value is invalid."""
    try:
        return (urlsplit(f"//{named}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def is_this_machine(named: str) -> bool:
    """Return whether the value of a header `Host` always means this machine.

    A foreign site may make its own domain name point to this machine (DNS rebinding). Such a name returns False.
    """
    host = host_of(named)
    return is_loopback(host) or host.endswith(".localhost")


def bearer_of(authorization: str) -> str:
    """Return the key in the value of a header `Authorization`; "" if the value has no bearer key."""
    scheme, *key = authorization.split(maxsplit=1) or [""]
    return key[0].strip() if key and scheme.lower() == "bearer" else ""


def is_same_key(expected: str, given: str) -> bool:
    """Return whether the keys are equal. The time of a call does not depend on where they differ."""
    # WSGI decodes headers as Latin-1, whatever their encoding is.
    sent = {given.encode(errors="replace"), given.encode("latin-1", "replace")}
    return any(hmac.compare_digest(each, expected.encode()) for each in sent)
