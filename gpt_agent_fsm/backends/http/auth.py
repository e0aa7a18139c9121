"""Adds credentials from `auth` to each request: a bearer token, which may be renewed, or a signature."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import attrs
import requests
from requests.auth import AuthBase
from requests.hooks import default_hooks

from gpt_agent_fsm.backends.http.checks import is_header_value, is_key
from gpt_agent_fsm.backends.http.redaction import Redactor, secrets_in
from gpt_agent_fsm.backends.http.transport import HttpRequest
from gpt_agent_fsm.callables import why_not_callable
from gpt_agent_fsm.errors import AccessDenied
from gpt_agent_fsm.ports import CallLimits

__all__ = ["Auth", "Signed", "Signer"]

Auth: TypeAlias = Callable[[], str] | AuthBase
"""A callable that returns a bearer token, or an object that changes a request of `requests`."""
Prepare: TypeAlias = Callable[[HttpRequest], requests.PreparedRequest]


_PLAIN_HEADERS = {
    *("accept", "accept-encoding", "connection", "content-length", "content-type", "date", "host", "user-agent"),
    *("x-amz-date", "x-ms-date"),
}
"""Headers that many signatures add or change, but whose values are not secret. These values are not removed from
answers, because answers may contain the same words."""


@attrs.frozen
class Signed:
    """A request with its credentials. `secrets` are the secret values in these credentials."""

    request: HttpRequest | requests.PreparedRequest
    secrets: tuple[str, ...]


class Signer:
    """Adds the credentials from `auth` to requests. The redactor learns each secret before the secret is sent.

    Raises `ValueError` if `auth` is neither a callable that returns a token nor a `requests` `AuthBase`. Also raises
    `ValueError` if other credentials were given in addition to `auth`.
    """

    def __init__(self, auth: Auth, redactor: Redactor, api_key: str | None, headers: Iterable[str]) -> None:
        if isinstance(auth, type) or not callable(auth):
            kinds = "a callable that returns a bearer token, or a requests AuthBase"
            what = "a class" if isinstance(auth, type) else type(auth).__name__
            raise ValueError(f"auth must be {kinds}, not {what}; give a fixed key as api_key")
        form, arguments = ("auth(request)", 1) if isinstance(auth, AuthBase) else ("auth()", 0)
        if reason := why_not_callable(auth, arguments):
            raise ValueError(f"auth cannot be called as {form}: {reason}")
        if api_key or any(name.lower() == "authorization" for name in headers):
            raise ValueError("Give either auth, or api_key or the header Authorization, not both")
        self._auth = auth
        self._redactor = redactor

    def sign(self, request: HttpRequest, prepare: Prepare, limits: CallLimits) -> Signed:
        """Return a copy of the request with its credentials.

        For an `AuthBase`, `prepare` converts the request into the form of the package `requests`.

        Raises `AccessDenied` if `auth` gives no credentials before the deadline. In this case nothing was sent, and a
        person must act.
        """
        if isinstance(self._auth, AuthBase):
            auth, unsigned, copy = self._auth, prepare(request), prepare(request)
            copy.hooks = default_hooks()  # prepared requests share them with the request that they are copied from
            signed = self._signed(self._called(lambda: auth(copy), limits), unsigned)
        else:
            signed = _with_token(self._called(self._auth, limits), request)
        self._redactor.learn(signed.secrets)
        return signed

    def _called(self, auth: Callable[[], object], limits: CallLimits) -> object:
        try:
            given = auth()
        except BaseException as error:
            if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
                raise  # it ends the program: Ctrl-C, or `sys.exit` in a handler of an operating system signal
            # The text of the exception may contain the secret, so the error names only the class of the exception.
            raise _denied(f"raised {type(error).__name__}") from self._redactor.cause(error)
        if limits.seconds_left <= 0:
            raise _denied("took longer than the request may take")
        return given

    def _signed(self, given: object, before: requests.PreparedRequest) -> Signed:
        if not isinstance(given, requests.PreparedRequest):
            raise _denied(f"must return the request, not {type(given).__name__}")
        added = {name: value for name, value in given.headers.items() if before.headers.get(name) != value}
        if not all(map(is_header_value, added.values())):
            raise _denied("must add headers of printable ASCII")
        values = [value for name, value in added.items() if name.lower() not in _PLAIN_HEADERS]
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        # A value like "Basic dTpw" consists of the name of a scheme and the secret itself.
        secrets = {*texts, *(text.partition(" ")[2] for text in texts), *(_parameters(given) - _parameters(before))}
        # The attributes are copied, because another OS thread may add an attribute at this moment.
        attributes = dict(getattr(self._auth, "__dict__", {}))
        named = {name: value for name, value in attributes.items() if isinstance(value, str)}
        return Signed(given, (*secrets, *secrets_in(named)))


def _with_token(given: object, request: HttpRequest) -> Signed:
    if not isinstance(given, str):
        raise _denied(f"must return a token as str, not {type(given).__name__}")
    if not is_key(given):
        raise _denied("must return a token of printable ASCII without white space")
    headers = {**request.headers, "Authorization": f"Bearer {given}"}
    return Signed(attrs.evolve(request, headers=headers), (given,))


def _parameters(request: requests.PreparedRequest) -> set[str]:
    """Return the values of the parameters in the request's URL. Some signatures are sent as a parameter."""
    return {value for _, value in parse_qsl(urlsplit(str(request.url)).query)}


def _denied(what: str) -> AccessDenied:
    return AccessDenied(None, None, f"auth {what}, so the request was not sent.")
