"""Checks addresses, keys, headers and proxies before the first request.

The error sentences do not repeat the checked value, because it may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy

__all__ = [
    "Proxy",
    "certificates",
    "checked_headers",
    "checked_key",
    "checked_url",
    "environment_proxy",
    "is_header_value",
    "is_key",
]

_SHAPE = "base_url (or OPENAI_BASE_URL) must look like https://api.example.com/v1"
_RESOURCES = ("/threads", "/assistants", "/responses", "/conversations", "/chat/completions")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def checked_url(base_url: str, resource: str) -> str:
    """Return the base URL without a slash at its end. Raise `ValueError` if the URL is invalid."""
    if not isinstance(base_url, str):
        advice = "; pass its base_url" if hasattr(base_url, "base_url") else ""
        raise TypeError(f"{_SHAPE}, and not be a {type(base_url).__name__}{advice}")
    base_url = base_url.strip()
    try:
        parts = urlsplit(base_url)
        requests.Request("GET", base_url).prepare()
        (parts.hostname or "").encode("idna")
    except ValueError:
        parts = None  # the cause is dropped, because it repeats the address
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError(f"{_SHAPE}, beginning with http:// or https://")
    if "@" in parts.netloc or "?" in base_url or "#" in base_url:
        raise ValueError(f"{_SHAPE}; give credentials as api_key or headers, and queries as params")
    if not base_url.isprintable() or " " in base_url:
        raise ValueError(f"{_SHAPE}, without white space")
    base_url = base_url.rstrip("/")
    if base_url.endswith((resource, *_RESOURCES)):
        raise ValueError(f"{_SHAPE}, the part of the address before {resource}")
    return base_url


def is_key(text: str) -> bool:
    """Return whether a text can be sent as a bearer token."""
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def is_header_value(value: object) -> bool:
    """Return whether a header can have this value. It must be printable ASCII without white space at either end."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(text, str) and text.isprintable() and text == text.strip() and text.isascii()


def checked_key(api_key: str) -> str:
    """Return the key. Raise `ValueError` if it cannot be sent."""
    if not is_key(api_key):
        raise ValueError(
            "api_key (or OPENAI_API_KEY) must be printable ASCII without white space; is there a line break at its end?"
        )
    return api_key


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers. Raise `ValueError` if one of them cannot be sent."""
    for name, value in headers.items():
        if not isinstance(value, str) or not is_header_value(value) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"The header {name!r} must be printable ASCII without white space around it")
    return headers


def certificates() -> str | bool:
    """Return the file of the certificate authorities to trust. Return True to trust the default authorities."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            if not os.path.exists(path):
                raise ValueError(f"{name} names a file that does not exist: {path}")
            return path
    return True


@attrs.frozen(kw_only=True)
class Proxy:
    """The proxy between the program and the server, if there is one.

    Attributes:
        choices: the proxies in the form that `requests` takes.
        name: the address of the proxy without credentials; "" if there is no proxy.
        credentials: the user name and password of the proxy. They must be kept secret.
    """

    choices: dict[str, str]
    name: str
    credentials: tuple[str, ...]


def environment_proxy(url: str) -> Proxy:
    """Return the proxy for a URL according to `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`."""
    choices = get_environ_proxies(url)
    address = select_proxy(url, choices) or ""
    try:
        credentials = get_auth_from_url(address)
    except ValueError:
        raise ValueError("HTTP_PROXY and HTTPS_PROXY must look like http://proxy.example.com:3128") from None
    scheme, mark, rest = address.rpartition("://")
    if "@" in rest and "@" not in urlsplit(address).netloc:
        # Libraries would take a part of the password for the host, and show it in their errors.
        raise ValueError(
            "the user name or the password in HTTP_PROXY or HTTPS_PROXY contains a character with a meaning in URLs; "
            "write %2F for /, %23 for # and %3F for ?"
        )
    return Proxy(choices=choices, name=scheme + mark + rest.rpartition("@")[2], credentials=credentials)
