"""HTTP as every wire needs it: one session per thread, a deadline per request, errors that say who must act."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Mapping
from importlib import metadata
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import requests
from cattrs import BaseValidationError
from cattrs.preconf.msgspec import MsgspecJsonConverter
from requests.utils import get_environ_proxies
from urllib3.exceptions import NewConnectionError

from gpt_agent_fsm.backends.deadline import DeadlineAdapter, set_deadline
from gpt_agent_fsm.backends.problems import Answer, problem
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError

__all__ = ["HttpClient", "segment"]

T = TypeVar("T")
_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|signature|credential", re.I)
_LEAST_SECRET = 6


def segment(identifier: str) -> str:
    """Return an id as one segment of a path, whatever characters it has."""
    return quote(identifier, safe="")


class HttpClient:
    """Talks JSON to one base URL. Safe to use from any thread.

    Raises `ValueError` for a base URL or a key that can not be right.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        converter: MsgspecJsonConverter,
    ) -> None:
        self.base_url = _checked_url(base_url)
        self._headers = {"User-Agent": f"gpt-agent-fsm/{metadata.version('gpt-agent-fsm')}", **headers}
        if api_key is not None:
            self._headers.setdefault("Authorization", f"Bearer {_checked_key(api_key)}")
        self._params = dict(params)
        self._converter = converter
        named = {**self._headers, **self._params}
        self._secrets = [
            secret
            for secret in (api_key, *(value for name, value in named.items() if _SECRET_NAME.search(name)))
            if secret and len(secret) >= _LEAST_SECRET
        ]
        # requests would read these from the environment for every request, at a quarter of its cost.
        self._proxies = get_environ_proxies(self.base_url)
        self._verify: str | bool = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: float) -> T:
        """Read something; raises an `ApiError` that is never `OutcomeUnknown`."""
        return self._exchange("GET", path, None, shape, params or {}, timeout)

    def post(self, path: str, body: object, shape: type[T], *, timeout: float) -> T:
        """Change something; raises `OutcomeUnknown` where that may have happened all the same."""
        return self._exchange("POST", path, self._converter.dumps(body), shape, {}, timeout)

    def close(self) -> None:
        """Close the connections of all threads. Idempotent."""
        with self._lock:
            for session in list(self._sessions):
                session.close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.mount("http://", DeadlineAdapter())
            session.mount("https://", DeadlineAdapter())
            self._local.session = session
            with self._lock:
                self._sessions.add(session)
        return session

    def _exchange(
        self, method: str, path: str, body: bytes | None, shape: type[T], params: Mapping[str, str], timeout: float
    ) -> T:
        answer = self._send(method, path, body, params, timeout)
        if answer.status >= 300:
            raise self._redacted(problem(answer))
        try:
            return self._converter.loads(answer.body, shape)
        except (msgspec.DecodeError, BaseValidationError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._raise_malformed(answer, error)

    def _send(self, method: str, path: str, body: bytes | None, params: Mapping[str, str], timeout: float) -> Answer:
        url = self.base_url + path
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        prepared = requests.Request(
            method, url, headers=headers, params={**self._params, **params}, data=body
        ).prepare()
        set_deadline(timeout)
        try:
            response = self._session().send(
                prepared,
                timeout=timeout,
                allow_redirects=False,
                proxies=self._proxies,
                verify=self._verify,
            )
            content = response.content
        except requests.RequestException as error:
            self._raise_unanswered(method, url, timeout, error)
        return Answer(method=method, url=url, status=response.status_code, headers=response.headers, body=content)

    def _raise_unanswered(self, method: str, url: str, timeout: float, error: requests.RequestException) -> NoReturn:
        never_sent = isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or _was_not_connected(
            error
        )
        if never_sent:
            sentence = f"No server could be reached at {self.base_url} ({_cause(error)}); is it running there?"
            raise self._redacted(TransientError(None, None, sentence, hopeless=True)) from error
        if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
            sentence = f"{method} {url} was not answered within {timeout:g} seconds."
        else:
            sentence = f"The connection was lost during {method} {url} ({_cause(error)})."
        if method == "POST":
            raise self._redacted(OutcomeUnknown(None, None, sentence, in_flight=True)) from error
        raise self._redacted(TransientError(None, None, sentence)) from error

    def _raise_malformed(self, answer: Answer, error: Exception) -> NoReturn:
        what = "an HTML page" if answer.is_html else f"not what the API promises ({_first_line(error)})"
        sentence = (
            f"The answer to {answer.method} {answer.url} is {what}; "
            f"is base_url {self.base_url!r} the API's, and does it end where /threads begins?"
        )
        kind = OutcomeUnknown if answer.method == "POST" else TransientError
        failure = kind(answer.status, None, sentence, answer.request_id)
        failure.hopeless = True
        raise self._redacted(failure) from error

    def _redacted(self, error: ApiError) -> ApiError:
        """Take out what must not be seen: some servers repeat the key they did not accept."""
        for secret in self._secrets:
            error.message = error.message.replace(secret, "***")
        error.args = (error.status, error.code, error.message, error.request_id)
        return error


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url must look like https://api.example.com/v1, not {base_url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url must be a plain address; give credentials as api_key or headers, queries as params")
    return base_url.rstrip("/")


def _checked_key(api_key: str) -> str:
    if not api_key.isascii() or not api_key.isprintable() or not api_key.strip() or " " in api_key:
        raise ValueError("api_key must be printable ASCII without white space; is there a line break at its end?")
    return api_key


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop()
        if isinstance(current, BaseException) and current not in found:
            found.append(current)
            waiting += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
    return found


def _was_not_connected(error: BaseException) -> bool:
    return any(isinstance(inner, NewConnectionError | ConnectionRefusedError) for inner in _chain(error))


def _cause(error: BaseException) -> str:
    """Return the innermost reason in words: "Connection refused", "Name or service not known"."""
    innermost = [inner for inner in _chain(error) if isinstance(inner, OSError) and inner.strerror]
    return str(innermost[-1].strerror) if innermost else type(error).__name__


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
