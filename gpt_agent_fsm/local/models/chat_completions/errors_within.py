"""Finds errors inside answers with HTTP status 200.

An object reports an error in three cases:

- It has a field for errors that is not empty.
- Its code, status or type indicates an error.
- A field such as `success` is false.

A piece of an answer, the objects in it, and the objects of its choices are searched for such errors.

If a server sends an object in place of a piece, the object is also an error if it has human-readable text but no
choices, unless its code indicates success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from gpt_agent_fsm.local.models.chat_completions.endings import finish_of
from gpt_agent_fsm.local.models.chat_completions.json_values import choices_of, count_of, items_of, mapping, whole

__all__ = ["error_in", "names_error", "status_of", "unknown_in"]

# The names of fields, in lower case and without underscores.
_ERRORS = ("error", "errors", "err", "iserror", "exception", "fault", "failure")
_DETAILS = ("detail", "details")
_WORDS = ("message", *_DETAILS, "msg", "errormsg", "errormessage", "statusmsg", "faultstring", *_ERRORS)
_MORE_WORDS = ("reason", "title", "description")
_CODES = ("code", "statuscode", "httpstatus", "errorcode", "status")
_KINDS = ("type", "object", "status", "code")
_SUCCESSES = ("success", "ok", "succeeded")
_FINE = ("", "ok", "success", "succeeded", "none", "null", "no error")

_BUSY = re.compile(r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl", re.IGNORECASE)
_FAILED = re.compile(
    r"error|exception|abort|cancel|fail|time.?(d.)?out|insufficient|malformed|overload|interrupt|unavailable",
    re.IGNORECASE,
)
_ALIVE = re.compile(r"ping|heart.?beat|keep.?alive", re.IGNORECASE)
_ENDED = re.compile(r"done|end|stop|finish|complete", re.IGNORECASE)
_LONGEST_CLIP = 500
_WITHOUT_WORDS = {"message": "The server reported an error without saying which."}


def error_in(answer: object, event: str = "") -> dict[str, Any] | None:
    """Return the error that an answer, or a piece of an answer, reports. Return None if it reports no error.

    The error has the form that OpenAI's service uses. `event` is the name of the server-sent event.
    """
    if isinstance(answer, str):
        return {"message": whole(answer)} if names_error(event) or _FAILED.search(answer) else None
    choices = choices_of(mapping(answer))
    places = list(_places(mapping(answer), choices))
    held = (_held_by(place, (*_ERRORS, *_DETAILS) if place is answer else _ERRORS) for place in places)
    for error in (*held, *map(_admitted_by, places)):
        if error:
            return error
    if names_error(event):
        return _as_error(answer, {}) or _WITHOUT_WORDS
    if event in ("", "message") and not choices and _words(answer, _WORDS) and not _is_harmless(answer, event):
        return _as_error(answer, {})
    for choice in choices:
        if _FAILED.search(reason := finish_of(choice)):
            said = mapping(choice.get("finish_reason"))
            return _as_error(said, {}) or {"message": f"The model's answer ended with the finish reason '{reason}'."}
    return None


def names_error(event: str) -> bool:
    """Return whether the name of an event indicates an error."""
    return bool(_FAILED.search(event))


def unknown_in(answer: object, event: str = "") -> str:
    """Return the text of an object that does not belong to an answer and may be an error.

    Return "" for any other object.
    """
    fields = _folded(mapping(answer))
    is_known = {"choices", "usage", "done"} & fields.keys() or str(fields.get("object")).startswith("chat.completion")
    if not answer or is_known or _is_harmless(answer, event) or _ENDED.search(f"{event} {fields.get('type')}"):
        return ""
    words = answer if isinstance(answer, str) else _words(answer, (*_WORDS, *_MORE_WORDS))
    return whole(words or json.dumps(answer, ensure_ascii=False))[:_LONGEST_CLIP]


def status_of(error: dict[str, Any]) -> int:
    """Return the HTTP status that the server should have sent with this error."""
    code = str(error.get("code"))
    if code.isdecimal() and 400 <= int(code) < 600:
        return int(code)
    return 429 if _BUSY.search(f"{code} {error.get('type')}") else 500


def _places(answer: dict[str, Any], choices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the objects that may report an error: the answer, the objects in it, its choices, and their messages."""
    yield answer
    for name, value in answer.items():
        # An error in the report of a content filter is about the filter, not about the answer.
        if isinstance(value, dict) and name != "choices" and "filter" not in name:
            yield from _places(value, [])
    for choice in choices:
        yield from (choice, mapping(choice.get("delta")), mapping(choice.get("message")))


def _held_by(place: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the error that one of these fields contains. Return None if none of them contains an error."""
    fields = _folded(place)
    for said in filter(None, map(fields.get, names)):
        if error := _as_error(said, place) or (_WITHOUT_WORDS if said is True else None):
            return error
    return None


def _admitted_by(place: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object itself in the form of an error, if it is an error. Otherwise return None."""
    fields = _folded(place)
    denies = any(fields.get(name) is False for name in _SUCCESSES)
    kinds = (fields.get(name) for name in _KINDS)
    says_so = any(isinstance(kind, str) and _FAILED.search(kind) for kind in kinds)
    if denies or says_so or (_is_bad(_code(fields)) and _words(place, (*_WORDS, *_MORE_WORDS))):
        return _as_error(place, {}) or _WITHOUT_WORDS
    return None


def _as_error(said: object, around: dict[str, Any]) -> dict[str, Any] | None:
    """Return an error in the form that OpenAI's service uses. Its text and its code come from `said`.

    If `said` has no text or no code, the missing value comes from `around`, the object that contains `said`. Returns
    None if there is no error, or if the text indicates success.
    """
    inner = mapping(next(iter(items_of(said)), None))
    fields, outer = _folded(inner), _folded(around)
    kind = fields.get("type") or outer.get("type")
    words = _words(said, (*_WORDS, *_MORE_WORDS))
    number = said if isinstance(said, int) and not isinstance(said, bool) else None
    if isinstance(said, dict | list) and not words and not fields.get("type") and not _is_bad(_code(fields)):
        return None
    code = number or _code(fields) or _code(outer)
    rest = {name: value for name, value in around.items() if value is not said}
    message = str(words or _words(rest, (*_WORDS, *_MORE_WORDS)) or code or kind or "")
    if message.lower().strip(" .") in _FINE:
        return None
    return {"message": whole(message), "code": code, "type": kind, "param": inner.get("param")}


def _words(value: object, names: tuple[str, ...]) -> str:
    """Return the first human-readable text in a value. Return "" if there is none.

    `names` are the fields that may contain such a text.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        fields = _folded(value)
        value = [fields.get(name) for name in names]
    found = (_words(each, names) for each in value) if isinstance(value, list) else ()
    return next(filter(None, found), "")


def _folded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with their names in lower case and without underscores."""
    return {name.lower().replace("_", ""): value for name, value in fields.items()}


def _code(fields: dict[str, Any]) -> object:
    """Return the code of an object whose fields come from `_folded`. Return None if it has no code."""
    return next((value for name in _CODES if (value := fields.get(name)) not in (None, "")), None)


def _is_bad(code: object) -> bool:
    """Return whether a code indicates a failure."""
    number = count_of(code)
    if isinstance(number, int) and not isinstance(number, bool):
        return not (number == 0 or 200 <= number < 300)
    return isinstance(code, str) and bool(_FAILED.search(code))


def _is_harmless(answer: object, event: str) -> bool:
    """Return whether an object indicates success, or only shows that the server is alive."""
    fields = _folded(mapping(answer))
    if _ALIVE.search(f"{event} {fields.get('type')}"):
        return True
    code = _code(fields)
    number = count_of(code)
    is_good = isinstance(number, int) and not isinstance(number, bool) and not _is_bad(number)
    return is_good or str(code).lower() in _FINE[1:4] or any(fields.get(name) is True for name in _SUCCESSES)
