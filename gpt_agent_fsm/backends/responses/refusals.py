"""Recognises certain error texts of this API: after such an error, the backend changes the request and repeats it."""

from __future__ import annotations

import re

from gpt_agent_fsm.errors import ApiError

__all__ = ["asks_for_input", "asks_for_outputs", "is_about_calls", "says_it_is_over"]

_NO_OUTPUT = re.compile(r"no tool output found", re.I)
_CALLS = re.compile(r"\b(tool|function|call|output)", re.I)
_INPUT_MISSING = re.compile(
    r"\binput\b.*(required|missing|must be provided|empty|at least (1|one)\b)|(missing|empty|at least one).*\binput\b",
    re.I | re.S,
)


def asks_for_outputs(error: ApiError) -> bool:
    """Return whether the server has refused a response because tool calls on the conversation have no output."""
    return bool(_NO_OUTPUT.search(error.message))


def is_about_calls(error: ApiError) -> bool:
    """Return whether the text of a refusal mentions tool calls or their outputs."""
    return bool(_CALLS.search(error.message))


def asks_for_input(error: ApiError) -> bool:
    """Return whether the server has refused a response because its input is missing or empty."""
    complaint = f"{getattr(error, 'param', None)} {error.message}"
    return error.status in (400, 422) and bool(_INPUT_MISSING.search(complaint))


def says_it_is_over(error: ApiError) -> bool:
    """Return whether a cancel failed because the response has already ended.

    Servers use different texts for this error, so only the status is compared.
    """
    return error.status == 409
