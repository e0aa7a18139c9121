"""Finds the text in the content of a message or of a delta (a piece of a message). The content may have any form."""

from __future__ import annotations

import re
from typing import Any

from gpt_agent_fsm.local.models.chat_completions.json_values import mapping, text_of

__all__ = ["has_unread", "said_in"]

_REASONING = re.compile("think|reason|thought|summary", re.IGNORECASE)


def said_in(message: dict[str, Any]) -> str:
    """Return the text of a message or of a delta (a piece of a message). If it has no text, return its refusal."""
    return _text(message.get("content")) or _text(message.get("refusal"))


def has_unread(message: dict[str, Any]) -> bool:
    """Return whether the content has a part that is neither text nor reasoning."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content] if content else []
    return any(part and _text(part) == "" and not _is_reasoning(part) and not _is_empty(part) for part in parts)


def _text(content: object) -> str:
    """Return the text of a content. The content may be a text, a number or a list of parts.

    Reasoning and all other values give "".
    """
    if isinstance(content, list):
        return "".join(map(_text, content))
    if isinstance(content, dict):
        own = next((content[name] for name in ("text", "refusal", "value", "content") if content.get(name)), "")
        return "" if _is_reasoning(content) else _text(own)
    return str(content) if isinstance(content, int | float) and not isinstance(content, bool) else text_of(content)


def _is_reasoning(part: object) -> bool:
    fields = mapping(part)
    kind = text_of(fields.get("type"))
    return bool(_REASONING.search(kind)) or (bool(fields) and fields.keys() <= {"thinking", "reasoning"})


def _is_empty(part: object) -> bool:
    """Return whether a part without words is an empty text or an empty refusal."""
    return "text" in mapping(part) or "refusal" in mapping(part)
