"""Small functions that read a value from any API, whatever its form is.

Compatible servers omit fields or set them to null, and send floats for timestamps and strings for error objects. So a
field with an unusable value counts as absent. Ids are the exception, because an object without an id cannot be used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "arguments_of",
    "is_another_id",
    "lenient_count",
    "lenient_id",
    "lenient_mapping",
    "lenient_number",
    "lenient_text",
    "mapping_or_none",
    "refusal_of",
    "required_id",
    "text_of",
]

_MAX_NUMBER = 1e15


def lenient_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def lenient_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _MAX_NUMBER else None


def lenient_count(value: Any) -> int:
    return max(int(lenient_number(value) or 0), 0)


def lenient_id(value: Any) -> str | None:
    """Return an id as text, even if the server sends a number. Return None for a value that is not an id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def lenient_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def mapping_or_none(value: Any) -> Mapping[str, Any] | None:
    """Return a mapping. It is empty for an empty value, such as null or an empty list. Return None for other values."""
    return lenient_mapping(value) if isinstance(value, dict) or not value else None


def required_id(value: Any) -> str:
    found = lenient_id(value)
    if found is None:
        raise ValueError("it has no id")
    return found


def is_another_id(named: str | None, asked: str) -> bool:
    """Return whether an HTTP answer is about another object than the request asked for. The ids of both are compared.

    A server may leave out the id, write it in capitals, or leave out its prefix. So `thread_A1` and `a1` are the same
    id.
    """
    if named is None or named == asked:
        return False
    short, long = sorted((re.sub(r"[^0-9a-z]", "", id_.lower()) for id_ in (named, asked)), key=len)
    prefix = long.removesuffix(short)
    return not (long.endswith(short) and (prefix.isalpha() or not prefix))


def arguments_of(value: Any) -> str:
    """Return the arguments of a tool call as JSON text, even if the server sends them as an object."""
    return value if isinstance(value, str) else json.dumps(value or {})


def refusal_of(content: Any) -> str | None:
    """Return the assistant's refusal from a message's content; None if the content has no refusal."""
    parts = [lenient_mapping(part) for part in content] if isinstance(content, list) else []
    said = [lenient_text(part.get("refusal")) for part in parts if part.get("type") == "refusal"]
    return "\n".join(text for text in said if text) or None


def text_of(content: Any) -> str:
    """Return the text parts of a message's content, joined by a newline. Other parts are left out."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else []:
        text = lenient_mapping(part).get("text")
        if lenient_mapping(part).get("type", "text") in ("text", "input_text", "output_text") and text is not None:
            texts.append(text if isinstance(text, str) else lenient_text(lenient_mapping(text).get("value")))
    return "\n".join(text for text in texts if text)
