"""Small functions that read JSON values of any form."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gpt_agent_fsm.local.models.surrogates import paired

__all__ = ["choices_of", "count_of", "decoded", "items_of", "mapping", "text_of", "whole"]


def decoded(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a text. Raises `ValueError` for invalid JSON.

    A server may split a character into two surrogates, and send the second one with the next piece of the answer. So a
    surrogate without its partner stays in the value.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # This decoder is ten times slower, but accepts a byte order mark, NaN, huge numbers, and unpaired surrogates.
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not valid JSON") from None


def whole(text: str) -> str:
    """Make a text safe to store and send. Pairs of surrogates are joined; unpaired surrogates are replaced."""
    return paired(text, "replace")


def mapping(value: object) -> dict[str, Any]:
    """Return a value if it is a JSON object. Otherwise return an empty object."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> list[Any]:
    """Return a value as a list. A single object becomes a list with this object.

    Any other value becomes an empty list.
    """
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


def choices_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices (alternative answers) in an answer or a piece of an answer. Empty choices are left out."""
    return [choice for choice in map(mapping, items_of(answer.get("choices"))) if choice]


def text_of(value: object) -> str:
    """Return a value if it is a text. Otherwise return ""."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> object:
    """Convert a float or a text to the whole number that it stands for. Return any other value unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value
