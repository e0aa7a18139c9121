"""Decodes the arguments of tool calls, and encodes the outputs that the library itself gives."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BROKEN",
    "announced_arguments",
    "decision_output",
    "decode_arguments",
    "error_output",
    "have_equal_values",
]

BROKEN = object()
"""The result of `decode_arguments` for text that is not valid JSON."""
_MAX_DEPTH = 100
"""The maximum depth of nested arrays and objects. Python's own limit depends on the current depth of function calls.
With Python's limit, one rule of the machine could decode the arguments of a call, and the next rule could not."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("the number is too large")
    return number


def decode_arguments(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a tool call's arguments, or `BROKEN` if the text cannot be used.

    If the text is blank, the call has no arguments, and the result is an empty object. A text cannot be used if it is
    not valid JSON or is nested too deeply. It also cannot be used if a number is too large for Python, because this
    number could not be written as JSON again.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_number)
    except (ValueError, RecursionError):
        return BROKEN
    return BROKEN if _is_too_deep(value) else value


def _is_too_deep(value: object) -> bool:
    level, depth = [value], 0
    while level and depth <= _MAX_DEPTH:
        level, depth = [part for each in level for part in _parts(each)], depth + 1
    return bool(level)


def _parts(value: object) -> Iterable[object]:
    """Return the values inside an array or object."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def announced_arguments(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the arguments of a tool call for an event. If the text is not valid JSON, return the text itself."""
    value = decode_arguments(text)
    return text if value is BROKEN else value


def have_equal_values(one: str, other: str) -> bool:
    """Return whether the texts of two calls' arguments are the same JSON value.

    A server may write them differently in each poll, with other spaces or in another order.
    """
    if one == other:
        return True
    values = [decode_arguments(text) for text in (one, other)]
    return BROKEN not in values and _are_equal(*values)


def _are_equal(one: Any, other: Any) -> bool:  # noqa: ANN401 - any JSON values
    """Return whether two JSON values are equal. In JSON, 1 is equal to 1.0, but not to true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_are_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(one == other)


def error_output(sentence: str) -> str:
    """Return the output of a failed call: a JSON text that tells the model about the error.

    UTF-8 can always encode it.
    """
    sentence = sentence.encode(errors="backslashreplace").decode()
    return json.dumps({"error": sentence}, ensure_ascii=False, separators=(",", ":"))


def decision_output(*, approve: bool, reason: str = "") -> str:
    """Return a person's decision about a call as JSON text. It is the output of a call that the server makes itself."""
    return json.dumps({"approve": approve, **({"reason": reason} if reason else {})}, ensure_ascii=False)
