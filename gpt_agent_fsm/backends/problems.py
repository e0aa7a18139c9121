"""From an answer that is not the one we wanted to the error that says who must act."""

from __future__ import annotations

import email.utils
import html
import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import attrs

from gpt_agent_fsm.backends.decoding import decode
from gpt_agent_fsm.errors import (
    AccessDenied,
    ApiError,
    InvalidThreadId,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
    ThreadBusy,
    TransientError,
)

__all__ = ["Answer", "Problem", "problem", "read_problem", "retry_after", "unknown_thread"]

_MOST = 500
_MOST_READ = 20_000
_QUOTA_CODES = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}
_QUOTA = "exceeded your current quota"
_NOT_STARTED_CODES = {"slow_down", "server_is_overloaded"}
_BUSY = re.compile(
    r"\bhas (an? )?(active|running|ongoing) run|\b(already|there is) an? (active|running) run"
    r"|\brun (\S+ )?is (already |still )?(active|running|in[ _]progress|queued|requires_action|cancelling)"
    r"|\bthread \S* ?is (busy|locked)",
    re.I,
)
_ABOUT_THREAD = re.compile(r"\b(thread|conversation)(_id)?\b", re.I)
_LOCKED = re.compile(r"conversation_locked|operating on this conversation", re.I)
# What frameworks answer for a path they have no handler for.
_NO_SUCH_PATH = re.compile(
    r"(not found|method not allowed)\.?|(invalid|unknown) (url|path|route|endpoint)\b.*|unexpected endpoint\b.*"
    r"|unrecognized request url\b.*|cannot (get|post)\b.*|no route\b.*",
    re.I | re.S,
)
_LONGEST_WAIT = 86_400.0


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP answer, as far as it matters here.

    Attributes:
        url: without its query, for a person to read.
        proxy: the proxy it came through, without credentials, or "".
        resource: where the API begins below the base URL, such as `/threads`.
    """

    method: str
    url: str
    proxy: str = ""
    resource: str = "/threads"
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """What the server calls this request in its own logs."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id")

    @property
    def hint(self) -> str:
        """What to say where the base URL may be wrong."""
        return f"; the base URL may be wrong: base_url must end where {self.resource} begins"

    @property
    def is_html(self) -> bool:
        """True for a page made for people, which no API sends."""
        return b"<html" in self.body[:2000].lower() or b"<!doctype html" in self.body[:200].lower()


@attrs.frozen(kw_only=True)
class Problem:
    """What an error body says, whatever its shape.

    Attributes:
        message: as long as the server made it; never empty.
        structured: False where the body is no API error at all but a page or plain text.
        verbatim: False where the message describes the body instead of repeating it.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    structured: bool = True
    verbatim: bool = True

    @property
    def summary(self) -> str:
        """The message on one line, cut where it is very long."""
        return _shorten(self.message)

    @property
    def quoted(self) -> str:
        """The summary, in quotes where the words are the server's."""
        return repr(self.summary) if self.verbatim else self.summary


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _from_json(value: Any) -> Problem | None:  # noqa: ANN401 - any JSON value
    """Read `{"error": ...}`, `{"detail": ...}`, `{"message": ...}`, lists of these, and strings."""
    match value:
        case str() if value.strip():
            return Problem(message=value)
        case list():
            return next((found for item in value if (found := _from_json(item))), None)
        case dict():
            code, kind = _text(value.get("code")), _text(value.get("type"))
            for name in ("error", "errors", "detail"):
                if found := _from_json(value.get(name)):
                    return attrs.evolve(found, code=found.code or code, type=found.type or kind)
            message = _text(value.get("message")) or _text(value.get("msg")) or code or kind
            param = _text(value.get("param")) or _param_of(value.get("loc"))
            return Problem(message=message, code=code, type=kind, param=param) if message else None
    return None


def _param_of(location: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return `content.0` for `["body", "content", 0]`."""
    if not isinstance(location, list):
        return None
    return ".".join(str(part) for part in location if part != "body") or None


def read_problem(answer: Answer) -> Problem:
    """Return what the body of an error answer says; its message is never empty."""
    try:
        found = _from_json(decode(answer.body))
    except (ValueError, RecursionError):
        found = None
    if found is not None:
        return found
    body = answer.body[:_MOST_READ]
    if answer.is_html:
        title = re.search(rb"<title[^<>]*>([^<]*)", body, re.I)
        name = html.unescape(title[1].decode(errors="replace")).strip() if title else ""
        return Problem(
            message=f"an HTML page{f' titled {_shorten(name)!r}' if name else ''}", structured=False, verbatim=False
        )
    plain = body.decode(errors="replace").strip()
    return Problem(message=plain or "an empty body", structured=False, verbatim=bool(plain))


def _shorten(text: str) -> str:
    text = " ".join(text[:_MOST_READ].split())
    return text if len(text) <= _MOST else text[: _MOST - 3] + "..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date.

    At most a day; what can not be read counts as absent.
    """
    milliseconds, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds)
    if seconds is not None:
        seconds /= 1000
    elif plain is not None:
        seconds = _number(plain)
        if seconds is None:
            seconds = _seconds_until(plain)
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_WAIT)


def _seconds_until(date: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
        # Dates of HTTP are in UTC, also where they do not say so.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def problem(answer: Answer) -> ApiError:
    """Return the error for an answer with a status of 300 or more."""
    said, status = read_problem(answer), answer.status
    codes = {said.code, said.type}
    facts = (status, said.code or said.type, _sentence(answer, said), answer.request_id)
    if codes & _QUOTA_CODES or status == 402 or (status == 429 and _QUOTA in said.message.lower()):
        return QuotaExceeded(*facts)
    locked = "conversation_locked" in codes or bool(_LOCKED.search(said.message))
    if answer.method == "POST" and (locked or _BUSY.search(said.message)):
        return ThreadBusy(*facts, locked=locked)
    if status in (401, 403, 407):
        return AccessDenied(*facts)
    not_started = status == 429 or codes & _NOT_STARTED_CODES
    final = status not in (408, 409, 425) and (status < 500 or status == 501)
    if not not_started and final:
        return RequestRefused(*facts, param=said.param)
    wait = retry_after(answer.headers)
    if not_started or answer.method != "POST":
        return TransientError(*facts, retry_after=wait)
    # A gateway that gave up says nothing about the server behind it, which may still be at work.
    return OutcomeUnknown(*facts, retry_after=wait, in_flight=status in (408, 502, 504))


def unknown_thread(error: RequestRefused, thread_id: str, base_url: str) -> InvalidThreadId | None:
    """Return what to raise if a thread was refused because there is none of that id; else None."""
    says_so = error.status in (400, 422) and _ABOUT_THREAD.search(f"{error.message} {error.param}")
    if error.status != 404 and not says_so:
        return None
    sentence = f"The server at {base_url} knows no thread {thread_id!r}: {error.message}"
    return InvalidThreadId(error.status, error.code, sentence, error.request_id)


def _misled(answer: Answer, said: Problem) -> bool:
    """Tell whether the answer sounds as if the API were somewhere else."""
    no_such_path = not said.structured or _NO_SUCH_PATH.fullmatch(said.message.strip())
    return answer.status in (404, 405, 501) and bool(no_such_path)


def _sentence(answer: Answer, said: Problem) -> str:
    status, through = answer.status, f" through the proxy {answer.proxy}" if answer.proxy else ""
    if 300 <= status < 400:
        target = answer.headers.get("location", "another address").split("?")[0]
        return f"{answer.url} redirects to {_shorten(target)}; use the base URL of the API itself."
    if status == 407:
        return f"The proxy {answer.proxy} wants a user name and a password; put them into HTTP_PROXY and HTTPS_PROXY."
    if status in (401, 403):
        advice = "The API key is missing, wrong, or may not do this; check api_key (or OPENAI_API_KEY)"
        return f"{advice}; the server{through} says: {said.summary}"
    misled = _misled(answer, said)
    if said.structured and not misled:
        return said.summary
    return f"{answer.method} {answer.url}{through} was answered with {said.quoted}{answer.hint if misled else ''}"
