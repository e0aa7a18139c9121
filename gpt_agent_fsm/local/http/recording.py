"""Reports the requests that a server gets, so that tests can inspect them."""

import io
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
from attrs import field, frozen

from gpt_agent_fsm.local.http.environ import WAITING
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

_SECRET_NAME = re.compile(
    r"auth|(?<!idempotency-)key$|token|secret|cookie|pass|signature|credential|jwt|bearer|session|^(sig|code)$", re.I
)
"""Matches names of headers and parameters that suggest a secret. An `Idempotency-Key` is not a secret."""

# WSGI gives the names of headers in capitals, so their spelling is lost.
_SPELLED = {f"Openai-{word}": f"OpenAI-{word}" for word in ("Beta", "Organization", "Project")}


@frozen(kw_only=True)
class SeenRequest:
    """One request whose HTTP answer has begun.

    Headers and parameters are left out if their name suggests a secret, as `Authorization` and `Api-Key` do.

    Attributes:
        method: the HTTP method, such as `POST`.
        path: the path below the base URL, such as `/threads`.
        query: the parameters of the query. If a parameter occurs several times, its last value is kept.
        headers: the request headers, with names spelled like `OpenAI-Beta`.
        body: the JSON value of the body; None if there is no body, and bytes if it is not valid JSON.
        status: the status of the HTTP answer.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    body: Any
    status: int


class Recorder:
    """Wraps an application and reports each request, on the OS thread that answers the request."""

    def __init__(self, application: WSGIApplication, report: Callable[[SeenRequest], object]) -> None:
        self._application = application
        self._report = report

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request. The WSGI server calls this method."""
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(raw)

        def start(status: str, *rest: Any) -> Callable[[bytes], object]:  # noqa: ANN401 - as WSGI has it
            seen = _seen(environ, raw, int(status.split(maxsplit=1)[0]))
            try:
                # The callback may be slow.
                with environ[WAITING]():
                    self._report(seen)
            except BaseException:  # even of `pytest.fail`, which is no `Exception`
                # The request may have taken effect, so its client must still get the answer.
                logger.exception("on_request raised")
            return start_response(status, *rest)

        return self._application(environ, start)


def _seen(environ: WSGIEnvironment, raw: bytes, status: int) -> SeenRequest:
    names = {name: name.removeprefix("HTTP_").replace("_", "-").title() for name in environ if name.startswith("HTTP_")}
    headers = {_SPELLED.get(spelled, spelled): str(environ[name]) for name, spelled in names.items()}
    if "Referer" in headers:
        headers["Referer"] = headers["Referer"].partition("?")[0]
    return SeenRequest(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"].removeprefix("/v1"),
        query=_public(dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))),
        headers=_public(headers),
        body=_body(raw),
        status=status,
    )


def _public(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if not _SECRET_NAME.search(name)}


def _body(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
