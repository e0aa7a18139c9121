"""The credentials that `auth` gives before each request: a bearer token, which may be renewed, or a signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import requests
from requests.auth import AuthBase
from requests.hooks import default_hooks

from gpt_agent_fsm.backends.http.checks import is_header_value, is_key
from gpt_agent_fsm.backends.http.redaction import Redactor
from gpt_agent_fsm.callables import why_nothing_runs
from gpt_agent_fsm.errors import AccessDenied
from gpt_agent_fsm.ports import CallLimits

__all__ = ["Auth", "Signer"]

Auth: TypeAlias = Callable[[], str] | AuthBase
"""A callable that returns a bearer token, or an object that changes a request of `requests`."""


class Signer:
    """Adds the credentials from `auth` to requests. The redactor learns each secret before the secret is sent.

    Raises `ValueError` if `auth` is neither kind of `Auth`, or if other credentials were given, too.
    """

    def __init__(self, auth: Auth, redactor: Redactor, api_key: str | None, headers: Mapping[str, str]) -> None:
        if isinstance(auth, type) or not callable(auth):
            kinds = "a callable that returns a bearer token, or a requests AuthBase"
            what = "a class" if isinstance(auth, type) else type(auth).__name__
            raise ValueError(f"auth must be {kinds}, not {what}; give a fixed key as api_key")
        if reason := why_nothing_runs(auth):
            raise ValueError(f"auth cannot be called: {reason}")
        if api_key or any(name.lower() == "authorization" for name in headers):
            raise ValueError("Give either auth, or api_key or the header Authorization, not both")
        self._auth = auth
        self._redactor = redactor

    def sign(self, request: requests.PreparedRequest, limits: CallLimits) -> requests.PreparedRequest:
        """Return the request with its credentials.

        Raises `AccessDenied` if `auth` gives no credentials before the deadline. Nothing was sent, and a person must
        act.
        """
        before = dict(request.headers)
        request.hooks = default_hooks()  # a copied request shares them with its original
        try:
            given: object = self._auth(request) if isinstance(self._auth, AuthBase) else self._auth()
        except Exception as error:  # noqa: BLE001 - a backend raises nothing but an ApiError
            # The text of the exception may contain the secret, so the error names only the class of the exception.
            raise _denied(f"raised {type(error).__name__}") from self._redactor.cause(error)
        if limits.seconds_left <= 0:
            raise _denied("took longer than the request may take")
        if isinstance(self._auth, AuthBase):
            return self._signed(given, before)
        request.headers["Authorization"] = f"Bearer {self._token(given)}"
        return request

    def _token(self, given: object) -> str:
        if not isinstance(given, str):
            raise _denied(f"must return a token as str, not {type(given).__name__}")
        if not is_key(given):
            raise _denied("must return a token of printable ASCII without white space")
        self._redactor.learn([given])
        return given

    def _signed(self, given: object, before: Mapping[str, str]) -> requests.PreparedRequest:
        if not isinstance(given, requests.PreparedRequest):
            raise _denied(f"must return the request, not {type(given).__name__}")
        added = [value for name, value in given.headers.items() if before.get(name) != value]
        if not all(map(is_header_value, added)):
            raise _denied("must add headers of printable ASCII")
        texts = [value.decode() if isinstance(value, bytes) else value for value in added]
        # A value like "Basic dTpw" is the name of a scheme and then the secret itself.
        self._redactor.learn([*texts, *(text.partition(" ")[2] for text in texts)])
        attributes = getattr(self._auth, "__dict__", {})
        self._redactor.learn_named({name: value for name, value in attributes.items() if isinstance(value, str)})
        return given


def _denied(what: str) -> AccessDenied:
    return AccessDenied(None, None, f"auth {what}, so the request was not sent.")
