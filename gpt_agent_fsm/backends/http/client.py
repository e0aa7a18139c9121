"""The HTTP client for all APIs: a session per OS thread, a deadline per request, and errors that say who must act."""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import requests
from cattrs.preconf.msgspec import MsgspecJsonConverter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError
from urllib3.filepost import encode_multipart_formdata

from gpt_agent_fsm.backends.http import exchange, outcomes
from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.auth import Auth, Signer
from gpt_agent_fsm.backends.http.checks import (
    certificates,
    checked_headers,
    checked_key,
    checked_url,
    environment_proxy,
)
from gpt_agent_fsm.backends.http.decoding import decode
from gpt_agent_fsm.backends.http.error_bodies import read_error_body
from gpt_agent_fsm.backends.http.event_stream import EventStream, is_event_stream
from gpt_agent_fsm.backends.http.quiet import quiet
from gpt_agent_fsm.backends.http.redaction import Redactor
from gpt_agent_fsm.backends.http.transport import HttpRequest, Incoming, Transport
from gpt_agent_fsm.backends.http.transport_errors import TransportFailure
from gpt_agent_fsm.backends.shared.values import lenient_mapping, required_id
from gpt_agent_fsm.errors import ApiError
from gpt_agent_fsm.ports import CallLimits, Timeout, media

__all__ = ["HttpClient", "client_from_env", "segment"]

T = TypeVar("T")
_OPENAI = "https://api.openai.com/v1"
_JSON, _EVENTS = "application/json", "text/event-stream, application/json"
_KEY_HEADERS = {"api-key", "authorization"}
_ACCOUNT_HEADERS = ("Authorization", "api-key", "OpenAI-Organization", "OpenAI-Project")


@functools.cache
def _version() -> str:
    return metadata.version("gpt-agent-fsm")  # reads files


def segment(identifier: str) -> str:
    """Return an id as one segment of a path, whatever characters the id contains."""
    quoted = quote(identifier, safe="", errors="surrogatepass")
    # A segment of one or two dots alone would mean this folder or the folder above.
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


class HttpClient:
    """Sends and reads JSON at one base URL. Safe to use from any OS thread.

    Args:
        base_url: the part of the address before `resource`.
        api_key: the API key; None if the server needs no key.
        auth: the source of the credentials for each request, instead of a key.
        headers, params: the headers and query parameters to add to each request.
        resource: the first part of the path after `base_url`, such as `/threads`.
        converter: the converter of JSON values. It raises `ValueError` for a value that does not have the requested
            form.

    Raises `ValueError` for an invalid base URL, key or header.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        resource: str,
        converter: MsgspecJsonConverter,
    ) -> None:
        self.base_url: str = checked_url(base_url, resource)
        self._resource = resource
        sent = CaseInsensitiveDict(
            {
                "User-Agent": f"gpt-agent-fsm/{_version()}",
                "Accept": _JSON,
                "Accept-Encoding": "gzip, deflate",
            }
        )
        if api_key is not None:
            sent["Authorization"] = f"Bearer {checked_key(api_key)}"
        sent.update(checked_headers(headers))
        self._params = dict(params)
        self._converter = converter
        template = requests.Request("GET", self.base_url, headers=sent).prepare()
        self._proxy = environment_proxy(str(template.url).rstrip("/"))
        self._transport = Transport(template, self._proxy, certificates())
        self._headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(template.headers)
        self._ready_headers: dict[tuple[str | None, str | None], dict[str, str]] = {}
        self._redactor = Redactor([api_key or "", *self._proxy.credentials], {**headers, **params})
        self._signer = None if auth is None else Signer(auth, self._redactor, api_key, headers)

    def account(self, salt: bytes) -> str:
        """See `AccountBackend`. The credentials of `auth` change, so only the address counts then."""
        named = [f"{name.lower()}: {self._headers[name]}" for name in _ACCOUNT_HEADERS if name in self._headers]
        return hmac.new(salt, "\n".join([self.base_url, *named]).encode(), "sha256").hexdigest()[:32]

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: Timeout) -> T:
        """Make a GET. Raises an `ApiError`, but never `OutcomeUnknown`."""
        return self._exchange("GET", path, None, shape, params or {}, timeout)

    def download(self, path: Sequence[str], *, timeout: Timeout) -> bytes:
        """Make a GET of the path with these segments. Return the body, which need not be JSON. Raises as `get` does."""
        path = "".join(f"/{segment(part)}" for part in path)
        answer = self._successful(self._request("GET", path, None, {}, accept="*/*"), path, exchange.limits_of(timeout))
        return _whole(answer).body

    def post(self, path: str, body: object, shape: type[T], *, timeout: Timeout) -> T:
        """Make a POST. Raises an `ApiError`; this is `OutcomeUnknown` if the POST may have taken effect."""
        return self._exchange("POST", path, self._encoded(body), shape, {}, timeout)

    def upload(self, path: str, fields: Mapping[str, str], name: str, data: bytes, *, timeout: Timeout) -> str:
        """Make a POST of a form with these fields and a file, and return the file's id. Raises as `post` does."""
        body, kind = encode_multipart_formdata({**fields, "file": (name, data, media.mime_type(data, name))})
        request = self._request("POST", path, body, {}, content_type=kind)
        answer = _whole(self._successful(request, path, exchange.limits_of(timeout)))
        return self._read(answer, lambda value: required_id(lenient_mapping(value).get("id")))

    def stream(
        self,
        method: str,
        path: str,
        body: object,
        shape: type[T],
        *,
        params: Mapping[str, str] | None = None,
        timeout: Timeout,
    ) -> EventStream | T:
        """Make a request that is answered with a stream of events, and return the stream before its first event.

        `body` is None for a GET. If the server answers with JSON instead, return the JSON. Raises as `get` and `post`
        do.
        """
        data = None if body is None else self._encoded(body)
        request = self._request(method, path, data, params or {}, accept=_EVENTS)
        answer = self._successful(request, path, exchange.limits_of(timeout))
        return answer if isinstance(answer, EventStream) else self._structured(answer, shape)

    def close(self) -> None:
        """Close the connections of all OS threads. Idempotent."""
        self._transport.close()

    def _session(self) -> requests.Session:
        """Return the session of this OS thread, to which tests may mount adapters."""
        return self._transport.session()

    def _exchange(
        self, method: str, path: str, body: bytes | None, shape: type[T], params: Mapping[str, str], timeout: Timeout
    ) -> T:
        answer = self._successful(self._request(method, path, body, params), path, exchange.limits_of(timeout))
        return self._structured(_whole(answer), shape)

    def _encoded(self, body: object) -> bytes:
        try:
            return self._converter.dumps(body)
        except UnicodeEncodeError as error:
            raise outcomes.error_for_unencodable() from error

    def _structured(self, answer: HttpAnswer, shape: type[T]) -> T:
        return self._read(answer, lambda value: self._converter.structure(value, shape))

    def _read(self, answer: HttpAnswer, convert: Callable[[Any], T]) -> T:
        try:
            return convert(decode(answer.body))
        except ValueError as error:
            self._raise_malformed(answer, error)

    def _successful(self, request: HttpRequest, path: str, limits: CallLimits) -> HttpAnswer | EventStream:
        """Return the answer if it says that the request has succeeded. Raise the error of any other answer."""
        answer = self._send(request, path, limits)
        if isinstance(answer, HttpAnswer) and answer.status == 401 and self._signer is not None:
            # The refused request took no effect. Its token may have expired on the way, or may have been revoked.
            answer = self._send(request, path, limits)
        if isinstance(answer, HttpAnswer) and answer.status >= 300:
            raise self._redactor.error(outcomes.error_for_answer(answer))
        return answer

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        params: Mapping[str, str],
        accept: str | None = None,
        content_type: str = _JSON,
    ) -> HttpRequest:
        query = urlencode({**self._params, **params}, errors="surrogatepass") if params or self._params else ""
        headers = self._headers_with(accept, None if body is None else content_type)
        return HttpRequest(method, f"{path}?{query}" if query else path, headers, body, accept == _EVENTS)

    def _headers_with(self, accept: str | None, content_type: str | None) -> dict[str, str]:
        if ready := self._ready_headers.get((accept, content_type)):
            return ready
        headers = self._headers.copy()
        headers.update({name: value for name, value in (("Accept", accept), ("Content-Type", content_type)) if value})
        if content_type in (None, _JSON):  # each form has a content type of its own
            self._ready_headers[accept, content_type] = dict(headers)
        return dict(headers)

    def _send(self, request: HttpRequest, path: str, limits: CallLimits) -> HttpAnswer | EventStream:
        signed = None if self._signer is None else self._signer.sign(request, self._transport.prepared, limits)
        method, secrets = request.method, () if signed is None else signed.secrets
        seconds = round(limits.seconds_left, 2)
        exchange.begin(limits)
        with self._explained(method, path, seconds, secrets), self._transport.turns.taken():
            response = self._transport.open(request if signed is None else signed.request, seconds)
            if request.asks_for_events and is_event_stream(response):
                return self._event_stream(method, path, response, limits.max_answer_bytes, seconds, secrets)
            content = response.read(limits.max_answer_bytes)
        if len(content) > limits.max_answer_bytes:
            raise outcomes.error_for_long_answer(method, self.base_url + path, response.status, limits.max_answer_bytes)
        return self._answer(method, path, response, content)

    def _event_stream(
        self, method: str, path: str, response: Incoming, max_bytes: int, seconds: float, secrets: Sequence[str]
    ) -> EventStream:
        def too_long() -> ApiError:
            return outcomes.error_for_long_answer(method, self.base_url + path, response.status, max_bytes)

        def explained(silence: float | None) -> contextlib.AbstractContextManager[None]:
            return self._explained(method, path, seconds if silence is None else silence, secrets)

        return EventStream(response, explained, self._redactor.body, max_bytes, too_long)

    @contextlib.contextmanager
    def _explained(self, method: str, path: str, timeout: float, secrets: Sequence[str] = ()) -> Iterator[None]:
        """Raise an `ApiError` if the request in the `with` block gets no HTTP answer. The error shows no `secrets`."""
        try:
            try:
                with quiet():
                    yield
            finally:
                # These secrets may have been forgotten, if many others were learnt during the request.
                self._redactor.learn(secrets)
        except (OSError, HTTPError) as error:  # `requests` raises OSErrors, and lets some errors of urllib3 through
            failure = TransportFailure(
                method=method,
                url=self.base_url + path,
                base_url=self.base_url,
                proxy=self._proxy.name,
                timeout=timeout,
                error=error,
            )
            explained = outcomes.error_for_failure(failure)
            raise self._redactor.error(explained) from self._redactor.cause(error)

    def _answer(self, method: str, path: str, response: Incoming, content: bytes) -> HttpAnswer:
        return HttpAnswer(
            method=method,
            url=self.base_url + path,
            proxy=self._proxy.name,
            resource=self._resource,
            credentials="api_key (or OPENAI_API_KEY)" if self._signer is None else "auth",
            status=response.status,
            headers=response.headers,
            # Some servers repeat the request in an answer, even in the error of a run.
            body=self._redactor.body(content),
        )

    def _raise_malformed(self, answer: HttpAnswer, error: Exception) -> NoReturn:
        said = read_error_body(answer)
        raise self._redactor.error(outcomes.error_for_unreadable(answer, said, error)) from error


def _whole(answer: HttpAnswer | EventStream) -> HttpAnswer:
    """Return the answer to a request that did not ask for a stream."""
    assert isinstance(answer, HttpAnswer)  # noqa: S101 - for the type checker
    return answer


def client_from_env(
    base_url: str | None,
    api_key: str | None,
    *,
    auth: Auth | None,
    organization: str | None,
    project: str | None,
    headers: Mapping[str, str],
    params: Mapping[str, str],
    resource: str,
    converter: MsgspecJsonConverter,
) -> HttpClient:
    """Return a client that is configured like OpenAI's own client. Environment variables replace missing arguments.

    The variables are `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` and `OPENAI_API_KEY`. `OPENAI_API_KEY` is
    not used if `auth` is given or `headers` contain a key.
    """
    environ = os.environ
    if not api_key and auth is None and _KEY_HEADERS.isdisjoint(name.lower() for name in headers):
        # If other credentials were given, the variable is not used: their service must not see OpenAI's key.
        api_key = environ.get("OPENAI_API_KEY")
    optional = {
        "OpenAI-Organization": organization or environ.get("OPENAI_ORG_ID"),
        "OpenAI-Project": project or environ.get("OPENAI_PROJECT_ID"),
    }
    return HttpClient(
        base_url or environ.get("OPENAI_BASE_URL") or _OPENAI,
        api_key or None,
        auth=auth,
        headers={**{name: value for name, value in optional.items() if value}, **headers},
        params=params,
        resource=resource,
        converter=converter,
    )
