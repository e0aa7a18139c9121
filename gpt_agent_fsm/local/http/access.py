"""Decides who may use the server. If the server has an API key, only callers that send the key may use it.

If the server has no key, all programs on this machine may use it. But pages of other web sites are refused, although
the browser that shows them is a program on this machine. A browser lets a page send requests to any address. The
`Origin` of the request names the site of the page. A site may also make its own domain name point to this machine (DNS
rebinding). In this case, the `Host` of the request is this name.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

import flask

from gpt_agent_fsm.access import bearer_of, is_loopback, is_same_key, is_this_machine
from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

ANY = "*"
"""Stands for all origins."""

_UPLOADS = ("/v1/files", "/v1/uploads")
"""The paths below which a body may be a form with a file."""

Key: TypeAlias = str | Callable[[str], bool]
"""The one key that all clients send, or a callable that returns whether a key is valid."""

_REFUSED = "a server without an API key refuses it"

_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_options(host: str, api_key: Key | None) -> None:
    """Raise `ValueError` if these options would let everybody in the network use the server, or nobody at all."""
    if api_key is None and not is_loopback(host):
        raise ValueError(
            f"Without a key anybody who can connect to {host!r} could use this server: give an api_key, or listen on "
            "127.0.0.1."
        )
    if isinstance(api_key, str) and not api_key.strip():
        raise ValueError("An api_key must not be blank: leave it out if clients need no key.")


def origins(given: Iterable[str]) -> frozenset[str]:
    """Return the origins in the form in which browsers send them. Raises `ValueError` if one is not an origin."""
    if isinstance(given, str):
        raise ValueError("allow_origins must be a list of origins, such as ['http://localhost:3000'], not one string.")
    given = list(given)
    if not all(isinstance(each, str) for each in given):
        raise ValueError(
            f"allow_origins must be a list of origins, such as ['http://localhost:3000'], not {given!r:.100}."
        )
    return frozenset(_origin(each) for each in given)


def _origin(given: str) -> str:
    if given == ANY:
        return ANY
    try:
        parts = urlsplit(given)
        port, host, user = parts.port, parts.hostname, parts.username
    except ValueError:
        port = host = user = None
    if not host or user is not None or parts.path or parts.query or parts.fragment:
        raise ValueError(f"An allowed origin must be '*' or like 'http://localhost:3000', not {given!r}.")
    scheme = parts.scheme.lower()
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + ("" if port in (None, _DEFAULT_PORTS.get(scheme)) else f":{port}")


def key_check(api_key: Key) -> Callable[[], None]:
    """Return a function that raises the 401 unless the current request has a valid key."""
    is_valid = partial(is_same_key, api_key.strip()) if isinstance(api_key, str) else partial(_asked, api_key)

    def check() -> None:
        headers = flask.request.headers
        keys = (bearer_of(headers.get("Authorization", "")), headers.get("api-key", "").strip())
        given = [key for key in keys if key]
        if not given:
            raise ApiProblem(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or in an api-key header.",
            )
        if not any(map(is_valid, given)):
            raise ApiProblem(401, "Incorrect API key provided.", code="invalid_api_key")

    return check


def _asked(is_valid: Callable[[str], bool], given: str) -> bool:
    """Ask the callable whether the key is valid. The callable may be slow. Raises the 503 if the callable raises."""
    try:
        with flask.request.environ[WAITING]():
            return bool(is_valid(given))
    except BaseException as error:  # the client must get an answer, whatever the callable raises
        logger.exception("The callable for the API key raised")
        raise ApiProblem(
            503, "The server cannot check the API key now: try again soon.", kind="server_error"
        ) from error


def site_check(allowed: frozenset[str]) -> Callable[[], None]:
    """Return a function that raises the 403 or 415 for the current request if a page of another site may have sent it.

    `allowed` contains the origins of the pages that may send requests.
    """

    def check() -> None:
        request = flask.request
        named = request.headers.get("Host")
        if named is not None and not is_this_machine(named):
            sentence = f"The request is for the host '{named[:100]}': {_REFUSED}. Use 127.0.0.1 or localhost."
            raise ApiProblem(403, sentence, code="foreign_host")
        origin = request.headers.get("Origin")
        if origin is not None:
            if not (allowed & {origin, ANY} or origin in (f"http://{named}", f"https://{named}")):
                raise _foreign(f", '{origin[:100]}'")
        elif request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and ANY not in allowed:
            # A browser sends some requests of a page without an `Origin`, for example requests for images.
            raise _foreign()
        _check_type(request)

    return check


def _foreign(origin: str = "") -> ApiProblem:
    sentence = (
        f"The request comes from a page of another site{origin}: {_REFUSED}, unless the origin is one of the "
        "allow_origins (--allow-origin) of the server."
    )
    return ApiProblem(403, sentence, code="foreign_origin")


def _check_type(request: flask.Request) -> None:
    """Refuse a body if its type lets a page of another site send it without a preflight request."""
    kind = request.mimetype
    if not request.content_length or not kind or kind == "application/json" or kind.endswith("+json"):
        return
    is_upload = request.path.startswith(_UPLOADS) and kind == "multipart/form-data"
    if not is_upload:
        raise ApiProblem(
            415,
            f"Invalid Content-Type header ({kind[:100]}), expected application/json.",
            code="unsupported_media_type",
        )
