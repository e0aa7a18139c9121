"""Reads the body of an HTTP error in any form: JSON of many kinds, plain text, an HTML page."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.decoding import decode

__all__ = ["ErrorBody", "read_error_body", "shorten"]

_MAX_SHOWN = 500
_MAX_READ = 20_000


@attrs.frozen(kw_only=True)
class ErrorBody:
    """The content of an error body.

    Attributes:
        message: the error text in full length. It is never empty.
        structured: False if the body is an HTML page or plain text, and not the error of an API.
        verbatim: True if the message is the server's text; False if it only describes the body.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    structured: bool = True
    verbatim: bool = True

    @property
    def summary(self) -> str:
        """The message on one line. A long message is cut."""
        return shorten(self.message)

    @property
    def quoted(self) -> str:
        """The summary, in quotes if it is the server's text."""
        return repr(self.summary) if self.verbatim else self.summary


def read_error_body(answer: HttpAnswer) -> ErrorBody:
    """Return the content of the body of an HTTP error."""
    try:
        found = _from_json(decode(answer.body))
    except (ValueError, RecursionError):
        found = None
    if found is not None:
        return found
    body = answer.body[:_MAX_READ]
    if answer.is_html:
        import html  # noqa: PLC0415 - takes memory, and an API rarely answers with a page

        title = re.search(rb"<title[^<>]*>([^<]*)", body, re.I)
        name = html.unescape(title[1].decode(errors="replace")).strip() if title else ""
        return ErrorBody(
            message=f"an HTML page{f' titled {shorten(name)!r}' if name else ''}", structured=False, verbatim=False
        )
    plain = body.decode(errors="replace").strip()
    return ErrorBody(message=plain or "an empty body", structured=False, verbatim=bool(plain))


def shorten(text: str) -> str:
    """Return a text on one line, cut to 500 characters."""
    text = " ".join(text[:_MAX_READ].split())
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _from_json(value: Any) -> ErrorBody | None:  # noqa: ANN401 - any JSON value
    """Read `{"error": ...}`, `{"detail": ...}`, `{"message": ...}`, a list of these, or a string."""
    match value:
        case str() if value.strip():
            return ErrorBody(message=value)
        case list():
            return next((found for item in value if (found := _from_json(item))), None)
        case dict():
            code, kind = _text(value.get("code")), _text(value.get("type"))
            for name in ("error", "errors", "detail"):
                if found := _from_json(value.get(name)):
                    return attrs.evolve(found, code=found.code or code, type=found.type or kind)
            message = _text(value.get("message")) or _text(value.get("msg")) or code or kind
            param = _text(value.get("param")) or _param_of(value.get("loc"))
            return ErrorBody(message=message, code=code, type=kind, param=param) if message else None
    return None


def _param_of(location: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the name of the wrong parameter: for example `content.0` for the location `["body", "content", 0]`."""
    if not isinstance(location, list):
        return None
    return ".".join(str(part) for part in location if part != "body") or None


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value if value.strip() else None
    return None if value is None else json.dumps(value, ensure_ascii=False)
