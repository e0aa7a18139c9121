"""Recognises that a server refused a message because of its content. The content may be too long or filtered.

Such a message is dropped, and the messages after it are sent. Every other refusal needs a person. So this module
recognises a refusal only if the refusal names the content. Servers name the content in several ways: `content`,
`content.0.text.value`, `items[0].content[0].text`.
"""

from __future__ import annotations

import re

from gpt_agent_fsm.errors import RequestRefused
from gpt_agent_fsm.ports import media

__all__ = ["name_refused_text"]

_CODES = {
    "string_above_max_length",
    "string_too_long",
    "context_length_exceeded",
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
}
_VAGUE = (None, "items", "input", "prompt")
_NAMED = re.compile(r"invalid (?:\w+ ){0,3}'([^']+)'", re.I)


def name_refused_text(error: RequestRefused) -> None:
    """Set the `param` of the error to `content` if the server refused a posted message because of its text."""
    named = _NAMED.match(error.message)
    params = [error.param, named[1] if named else None]
    by_code = error.code in _CODES and all(param in _VAGUE for param in params)
    by_code = by_code or error.code in media.IMAGE_REFUSALS
    if error.status in (400, 422) and (by_code or any(_is_the_text(param) for param in params if param)):
        error.param = "content"


def _is_the_text(param: str) -> bool:
    """Return whether a parameter of a posted message is its content, an attached file, or its only item."""
    first, *rest = [part for part in re.split(r"[./\[\]]+", param) if part not in ("", "$", "body")] or [""]
    if first in ("items", "input"):
        return rest == ["0"] or ("content" in rest and "metadata" not in rest)
    return first in ("content", "attachments")
