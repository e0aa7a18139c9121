"""Small readers of JSON values that may have any form."""

from __future__ import annotations

from typing import Any

__all__ = ["items_of", "mapping", "text_of"]


def mapping(value: object) -> dict[str, Any]:
    """Return a value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> list[Any]:
    """Return a list; a single object is a list of one, everything else an empty list."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


def text_of(content: object) -> str:
    """Return a text, or the texts and refusals of a list of parts; parts of another type, such as reasoning, have none.

    Other values have no text.
    """
    if isinstance(content, str):
        return content
    parts = [mapping(part) for part in items_of(content)]
    said = [part for part in parts if part.get("type") in (None, "text", "output_text", "refusal")]
    return "".join(text_of(part.get("text")) or text_of(part.get("refusal")) for part in said)
