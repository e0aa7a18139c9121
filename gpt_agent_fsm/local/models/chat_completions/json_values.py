"""Small readers of JSON values that may have any form."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["choices_of", "count_of", "decoded", "items_of", "mapping", "text_of", "whole"]


def decoded(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value. Raises `ValueError` for invalid JSON.

    An unpaired surrogate stays, because its other half may come with the next piece.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Ten times slower, but it accepts a byte order mark, NaN, huge numbers, and unpaired surrogates.
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not valid JSON") from None


def whole(text: str) -> str:
    """Return a text that can be stored and sent: the halves of its characters are joined, or replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def mapping(value: object) -> dict[str, Any]:
    """Return a value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> list[Any]:
    """Return a list; a single object is a list of one, everything else an empty list."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


def choices_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of an answer or of a piece of one, without empty ones."""
    return [choice for choice in map(mapping, items_of(answer.get("choices"))) if choice]


def text_of(value: object) -> str:
    """Return a value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> object:
    """Return the whole number that a float or a text stands for; every other value stays."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value
