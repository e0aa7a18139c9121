"""Errors within an answer of HTTP 200: alone, in the place of a piece, in a choice, or as the reason to finish."""

from __future__ import annotations

import re
from typing import Any

from gpt_agent_fsm.local.models.chat_completions.json_values import items_of, mapping
from gpt_agent_fsm.local.models.chat_completions.reply_builder import finish_of

__all__ = ["error_in", "status_of"]

_WORDS = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage", "error", "errors")
_CODES = ("code", "status_code", "statusCode", "http_status", "error_code", "status")
_BUSY = re.compile(r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl", re.IGNORECASE)
_FAILED = re.compile(
    r"error|abort|cancel|fail|time.?(d.)?out|insufficient|malformed|overload|interrupt|unavailable", re.IGNORECASE
)


def error_in(answer: dict[str, Any], event: str = "") -> dict[str, Any] | None:
    """Return the error that an answer or a piece of one holds, in the form of OpenAI's service; None if it holds none.

    `event` is the name of the server-sent event.
    """
    choice = mapping(next(iter(items_of(answer.get("choices"))), None))
    inner = (answer.get("x_groq"), choice, choice.get("delta"), choice.get("message"))
    for place in (answer, *map(mapping, inner)):
        if (said := place.get("error")) and (error := _as_error(said, place)):
            return error
    if event == "error" or "error" in (answer.get("object"), answer.get("type"), answer.get("status")):
        return _as_error(answer, {}) or {"message": "The server reported an error without saying which."}
    # Of the events without a name of their own, only an error has words, and no choices.
    if event in ("", "message") and not choice and any(_words(answer.get(name)) for name in _WORDS):
        return _as_error(answer, {})
    reason = finish_of(choice)
    if not _FAILED.search(reason):
        return None
    said = mapping(choice.get("finish_reason"))
    return _as_error(said, {}) or {"message": f"The model's answer ended with the finish reason '{reason}'."}


def status_of(error: dict[str, Any]) -> int:
    """Return the HTTP status that an error inside an answer would have as an HTTP answer."""
    code = str(error.get("code"))
    if code.isdecimal() and 400 <= int(code) < 600:
        return int(code)
    return 429 if _BUSY.search(f"{code} {error.get('type')}") else 500


def _as_error(said: object, around: dict[str, Any]) -> dict[str, Any] | None:
    """Return an error in the usual form, with the words and the code of `said`, else those of the object around it."""
    inner = mapping(next(iter(items_of(said)), None))
    code = next((value for place in (inner, around) for name in _CODES if (value := place.get(name))), None)
    kind = inner.get("type") or around.get("type")
    message = (
        _words(said) or _words({name: value for name, value in around.items() if value is not said}) or code or kind
    )
    if not message:
        return None
    return {"message": str(message), "code": code, "type": kind, "param": inner.get("param")}


def _words(value: object) -> str:
    """Return the first text in a value that is meant for people, "" if there is none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        value = [value.get(name) for name in _WORDS]
    return next(filter(None, map(_words, value)), "") if isinstance(value, list) else ""
