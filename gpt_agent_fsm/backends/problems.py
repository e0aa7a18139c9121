"""From an answer that is not the one we wanted to the error that says who must act."""

from __future__ import annotations

import email.utils
import html
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from gpt_agent_fsm.errors import (
    AccessDenied,
    ApiError,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
    ThreadBusy,
    TransientError,
)

__all__ = ["Answer", "Problem", "problem", "read_problem", "retry_after"]

_MOST = 500
_QUOTA_CODES = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}
_NOT_STARTED_CODES = {"slow_down", "server_is_overloaded"}
_BUSY = re.compile(
    r"already has an active run|while a run \S+ is active|conversation_locked|has (a|an) (active|running) run", re.I
)


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP answer, as far as it matters here.

    Attributes:
        url: without its query, for a person to read.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """What the server calls this request in its own logs."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id")

    @property
    def is_html(self) -> bool:
        """True for a page made for people, which no API sends."""
        return b"<html" in self.body[:2000].lower() or b"<!doctype html" in self.body[:200].lower()


@attrs.frozen(kw_only=True)
class Problem:
    """What an error body says, whatever its shape.

    Attributes:
        structured: False where the body is no API error at all but a page or plain text.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    structured: bool = True


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _from_json(value: Any) -> Problem | None:  # noqa: ANN401 - any JSON value
    """Read `{"error": ...}`, `{"detail": ...}`, `{"message": ...}`, lists of these, and strings."""
    match value:
        case str() if value.strip():
            return Problem(message=value)
        case [first, *_]:
            return _from_json(first)
        case {"error": inner} if inner:
            found = _from_json(inner)
            return found and attrs.evolve(found, code=found.code or _text(value.get("code")))
        case {"detail": inner} if inner:
            return _from_json(inner)
        case {"message": message, **rest} if message:
            return Problem(
                message=_text(message) or "",
                code=_text(rest.get("code")),
                type=_text(rest.get("type")),
                param=_text(rest.get("param")),
            )
        case {"msg": message, **rest} if message:
            where = rest.get("loc")
            param = ".".join(str(part) for part in where if part != "body") if isinstance(where, list) else None
            return Problem(message=_text(message) or "", type=_text(rest.get("type")), param=param)
    return None


def read_problem(answer: Answer) -> Problem:
    """Return what the body of an error answer says; its message is never empty."""
    try:
        found = _from_json(msgspec.json.decode(answer.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if found is not None:
        return attrs.evolve(found, message=_shorten(found.message))
    if answer.is_html:
        title = re.search(rb"<title[^>]*>(.*?)</title>", answer.body, re.I | re.S)
        name = html.unescape(title[1].decode(errors="replace")).strip() if title else ""
        return Problem(message=f"an HTML page{f' titled {_shorten(name)!r}' if name else ''}", structured=False)
    plain = _shorten(answer.body.decode(errors="replace"))
    return Problem(message=plain or "an empty answer", structured=False)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST else text[: _MOST - 3] + "..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date."""
    milliseconds, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds)
    if seconds is not None:
        seconds /= 1000
    elif plain is not None:
        seconds = _number(plain)
        if seconds is None:
            try:
                seconds = email.utils.parsedate_to_datetime(plain).timestamp() - time.time()
            except (ValueError, OverflowError):
                return None
    return None if seconds is None else max(seconds, 0.0)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def problem(answer: Answer) -> ApiError:
    """Return the error for an answer with a status of 300 or more."""
    said = read_problem(answer)
    status, request_id = answer.status, answer.request_id
    facts = (status, said.code or said.type, _sentence(answer, said), request_id)
    wait = retry_after(answer.headers)
    posting = answer.method == "POST"
    codes = {said.code, said.type}
    if codes & _QUOTA_CODES or status == 402 or (status == 429 and "exceeded your current quota" in said.message):
        return QuotaExceeded(*facts)
    if posting and (_BUSY.search(said.message) or "conversation_locked" in codes):
        return ThreadBusy(*facts)
    if status in (401, 403):
        return AccessDenied(*facts)
    if status == 429 or codes & _NOT_STARTED_CODES:
        return TransientError(*facts, retry_after=wait)
    if status in (408, 409, 425) or status >= 500:
        if posting:
            # A gateway that gave up says nothing about the server behind it, which may still be at work.
            return OutcomeUnknown(*facts, retry_after=wait, in_flight=status in (408, 502, 504))
        return TransientError(*facts, retry_after=wait)
    return RequestRefused(*facts, param=said.param)


def _sentence(answer: Answer, said: Problem) -> str:
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "another address").split("?")[0]
        return f"{answer.url} redirects to {target}; use the base URL of the API itself."
    if answer.status in (401, 403):
        return f"The API key was not accepted, check it (OPENAI_API_KEY or api_key=): {said.message}"
    if not said.structured:
        hint = "; does base_url end where /threads begins?" if answer.status in (404, 405) else ""
        return f"{answer.method} {answer.url} was answered with HTTP {answer.status} and {said.message}{hint}"
    return said.message
