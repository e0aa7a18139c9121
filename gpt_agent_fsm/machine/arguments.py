"""The arguments of a tool call, decoded."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["BROKEN", "decision_output", "decode_arguments", "error_output"]

BROKEN = object()
"""The result of `decode_arguments` for text that is not valid JSON."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def decode_arguments(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a tool call's arguments, or `BROKEN`. Blank text means no arguments: an empty object."""
    if not text.strip():
        return {}
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return BROKEN


def error_output(sentence: str) -> str:
    """Return the output of a call that has failed: JSON text for the model. UTF-8 can always encode this text."""
    sentence = sentence.encode(errors="backslashreplace").decode()
    return json.dumps({"error": sentence}, ensure_ascii=False, separators=(",", ":"))


def decision_output(*, approve: bool, reason: str = "") -> str:
    """Return a person's decision as JSON text. It is the output of a call that the server makes itself."""
    return json.dumps({"approve": approve, **({"reason": reason} if reason else {})}, ensure_ascii=False)
