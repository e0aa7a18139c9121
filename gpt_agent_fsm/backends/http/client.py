"""The HTTP client for all APIs: a session per OS thread, a deadline per request, and errors that say who must act."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
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
from gpt_agent_fsm.backends.http.connection import Adapter
from gpt_agent_fsm.backends.http.decoding import decode
from gpt_agent_fsm.backends.http.error_bodies import read_error_body
from gpt_agent_fsm.backends.http.event_stream import EventStream, is_event_stream
from gpt_agent_fsm.backends.http.quiet import quiet
from gpt_agent_fsm.backends.http.redaction import Redactor
from gpt_agent_fsm.backends.http.transport_errors import TransportFailure
from gpt_agent_fsm.backends.shared.values import lenient_mapping, required_id
from gpt_agent_fsm.errors import ApiError
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.ports import CallLimits, Timeout, media

__all__ = ["HttpClient", "client_from_env", "segment"]

T = TypeVar("T")
_OPENAI = "https://api.openai.com/v1"
_PIECE = 65_536
_EVENTS = "text/event-stream, application/json"
_KEY_HEADERS = {"api-key", "authorization"}


def segment(identifier: str) -> str:
    """Return an id as one segment of a path, whatever characters it has."""
    quoted = quote(identifier, safe="", errors="surrogatepass")
    # A segment of one or two dots alone would mean this folder or the folder above.
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


class _Session(requests.Session):
    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[requests.Response]:  # noqa: ANN401 - as its base
        """Follow no redirect. Its address is not even read, because reading an invalid address raises an error."""
        return iter(())


class HttpClient:
    """Sends and reads JSON at one base URL. Safe to use from any OS thread.

    Args:
        base_url: the part of the address before `resource`.
        api_key: the API key; None if the server needs no key.
        auth: gives credentials before each request, instead of a key.
        headers, params: added to each request.
        converter: converts JSON values. It raises `ValueError` for a value that does not have the requested form.

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
                "User-Agent": f"gpt-agent-fsm/{metadata.version('gpt-agent-fsm')}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
            }
        )
        if api_key is not None:
            sent["Authorization"] = f"Bearer {checked_key(api_key)}"
        sent.update(checked_headers(headers))
        self._params = dict(params)
        self._converter = converter
        # These are prepared only once. For each request, `requests` would prepare them and read the environment again,
        # which is half of the time of a request.
        self._template = requests.Request("GET", self.base_url, headers=sent).prepare()
        self._root = str(self._template.url).rstrip("/")
        self._proxy = environment_proxy(self._root)
        self._redactor = Redactor([api_key or "", *self._proxy.credentials], {**headers, **params})
        self._signer = None if auth is None else Signer(auth, self._redactor, api_key, headers)
        self._verify = certificates()
        self._forget_connections()

    def _forget_connections(self) -> None:
        """Start without connections. From now on, this process makes the connections."""
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        # This is set last. If another OS thread sees the new value, the other fields are new, too.
        self._origin = Origin("backend")

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: Timeout) -> T:
        """Make a GET. Raises an `ApiError`, but never `OutcomeUnknown`."""
        return self._exchange("GET", path, None, shape, params or {}, timeout)

    def download(self, path: Sequence[str], *, timeout: Timeout) -> bytes:
        """Make a GET and return the body, which need not be JSON. `path` has the parts of the path. See `get`."""
        path = "".join(f"/{segment(part)}" for part in path)
        answer = self._successful(self._prepare("GET", path, None, {}, accept="*/*"), path, exchange.limits_of(timeout))
        return _whole(answer).body

    def post(self, path: str, body: object, shape: type[T], *, timeout: Timeout) -> T:
        """Make a POST. Raises an `ApiError`; this is `OutcomeUnknown` if the POST may have taken effect."""
        return self._exchange("POST", path, self._encoded(body), shape, {}, timeout)

    def upload(self, path: str, fields: Mapping[str, str], name: str, data: bytes, *, timeout: Timeout) -> str:
        """Make a POST of a form with these fields and a file, and return the id of the file. See `post`."""
        body, kind = encode_multipart_formdata({**fields, "file": (name, data, media.mime_type(data, name))})
        prepared = self._prepare("POST", path, body, {}, content_type=kind)
        answer = _whole(self._successful(prepared, path, exchange.limits_of(timeout)))
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
        prepared = self._prepare(method, path, data, params or {}, accept=_EVENTS)
        answer = self._successful(prepared, path, exchange.limits_of(timeout))
        return answer if isinstance(answer, EventStream) else self._structured(answer, shape)

    def close(self) -> None:
        """Close the connections of all OS threads. Idempotent."""
        if self._origin.was_forked:
            return
        with self._lock:
            for session in list(self._sessions):
                session.close()

    def _session(self) -> requests.Session:
        if self._origin.was_forked:
            # This is the child. With the parent's connections, each process could read HTTP answers to the other.
            self._forget_connections()
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            session.trust_env = False
            session.mount("http://", Adapter())
            session.mount("https://", Adapter())
            self._local.session = session
            with self._lock:
                self._sessions.add(session)
        return session

    def _exchange(
        self, method: str, path: str, body: bytes | None, shape: type[T], params: Mapping[str, str], timeout: Timeout
    ) -> T:
        answer = self._successful(self._prepare(method, path, body, params), path, exchange.limits_of(timeout))
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

    def _successful(
        self, prepared: requests.PreparedRequest, path: str, limits: CallLimits
    ) -> HttpAnswer | EventStream:
        """Return the answer if it says that the request has succeeded. Raise the error of any other answer."""
        answer = self._send(prepared, path, limits)
        if isinstance(answer, HttpAnswer) and answer.status == 401 and self._signer is not None:
            # The refused request took no effect. Its token may have expired on the way, or may have been revoked.
            answer = self._send(prepared, path, limits)
        if isinstance(answer, HttpAnswer) and answer.status >= 300:
            raise self._redactor.error(outcomes.error_for_answer(answer))
        return answer

    def _prepare(
        self,
        method: str,
        path: str,
        body: bytes | None,
        params: Mapping[str, str],
        accept: str | None = None,
        content_type: str = "application/json",
    ) -> requests.PreparedRequest:
        prepared = self._template.copy()
        prepared.method = method
        query = urlencode({**self._params, **params}, errors="surrogatepass")
        prepared.url = f"{self._root}{path}?{query}" if query else self._root + path
        if body is not None:
            prepared.body = body
            prepared.headers["Content-Type"] = content_type
            prepared.headers["Content-Length"] = str(len(body))
        if accept is not None:
            prepared.headers["Accept"] = accept
        return prepared

    def _send(self, prepared: requests.PreparedRequest, path: str, limits: CallLimits) -> HttpAnswer | EventStream:
        method, secrets = str(prepared.method), tuple[str, ...]()
        if self._signer is not None:
            signed = self._signer.sign(prepared, limits)
            prepared, secrets = signed.request, signed.secrets
        seconds = round(limits.seconds_left, 2)
        exchange.begin(limits)
        with self._explained(method, path, seconds, secrets):
            response = self._session().send(
                prepared,
                # The connection shortens this timeout to the remaining time. A timeout of zero would raise another
                # error.
                timeout=max(seconds, 0.001),
                allow_redirects=False,
                proxies=self._proxy.choices,
                verify=self._verify,
                stream=True,
            )
            if prepared.headers["Accept"] == _EVENTS and is_event_stream(response):
                return self._event_stream(method, path, response, limits.max_answer_bytes, secrets)
            content = _read(response, limits.max_answer_bytes)
        if len(content) > limits.max_answer_bytes:
            raise outcomes.error_for_long_answer(
                method, self.base_url + path, response.status_code, limits.max_answer_bytes
            )
        return self._answer(method, path, response, content)

    def _event_stream(
        self, method: str, path: str, response: requests.Response, max_bytes: int, secrets: Sequence[str]
    ) -> EventStream:
        def too_long() -> ApiError:
            return outcomes.error_for_long_answer(method, self.base_url + path, response.status_code, max_bytes)

        def explained(seconds: float) -> contextlib.AbstractContextManager[None]:
            return self._explained(method, path, seconds, secrets)

        return EventStream(response, explained, self._redactor.body, max_bytes, too_long)

    @contextlib.contextmanager
    def _explained(self, method: str, path: str, timeout: float, secrets: Sequence[str] = ()) -> Iterator[None]:
        """Raise an `ApiError` if the request in the `with` block gets no HTTP answer. `secrets` must not be seen."""
        try:
            try:
                with quiet():
                    yield
            finally:
                # During the request, many other secrets may have been learnt.
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

    def _answer(self, method: str, path: str, response: requests.Response, content: bytes) -> HttpAnswer:
        status = response.status_code
        return HttpAnswer(
            method=method,
            url=self.base_url + path,
            proxy=self._proxy.name,
            resource=self._resource,
            credentials="api_key (or OPENAI_API_KEY)" if self._signer is None else "auth",
            status=status,
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


def _read(response: requests.Response, limit: int) -> bytes:
    """Return the decompressed body. If it is longer than `limit`, stop reading soon and close the connection."""
    with contextlib.closing(response):
        pieces, size = [], 0
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                break
    return b"".join(pieces)


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
    """Return a client that is configured like OpenAI's own client. The environment has the defaults of the arguments.

    The variables are `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` and `OPENAI_API_KEY`. The last of these is
    not used if `auth` is given or `headers` contain a key.
    """
    environ = os.environ
    if not api_key and auth is None and _KEY_HEADERS.isdisjoint(name.lower() for name in headers):
        # Other credentials were given. The service that they belong to must not see the key of another service.
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
