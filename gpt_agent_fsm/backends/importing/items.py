"""Turns a thread's messages into the items of a conversation, and counts the parts that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_fsm.backends.importing.thread import ThreadMessage
from gpt_agent_fsm.backends.shared.values import lenient_mapping, lenient_text, text_of

__all__ = ["Plan", "essence_of", "plan_for"]

_ROLES = ("user", "assistant", "system", "developer")


@attrs.frozen(kw_only=True)
class Plan:
    """The items to copy, and counts of what is left out.

    Attributes:
        left_out: the number of message parts that cannot be copied, by their kind.
        messages_left_out: the number of messages that do not become an item.
    """

    items: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, int]
    messages_left_out: int


def plan_for(messages: Sequence[ThreadMessage]) -> Plan:
    """Return the plan for these messages. Its items are in the order of the messages."""
    left_out: Counter[str] = Counter()
    items = [item for message in messages if (item := _item_of(message, left_out)) is not None]
    return Plan(items=items, left_out=dict(left_out), messages_left_out=len(messages) - len(items))


def essence_of(role: str | None, content: object) -> tuple[str | None, str]:
    """Return the role and text by which messages are compared, without white space and the division into parts.

    Servers change both.
    """
    return role, " ".join(text_of(content).split())


def _item_of(message: ThreadMessage, left_out: Counter[str]) -> dict[str, Any] | None:
    """Return the item for a message, or None if it has no part to copy. Count the parts that are left out."""
    content = message.content
    given = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    parts: list[dict[str, Any]] = []
    for part in given:
        copied = _parts_of(lenient_mapping(part), message.role)
        parts += copied or []
        if copied is None:
            left_out[_kind(part)] += 1
    if isinstance(message.attachments, list) and message.attachments:
        left_out["attachment"] += len(message.attachments)
    if not parts or message.role not in _ROLES:
        return None
    return {"type": "message", "role": message.role, "content": parts}


def _parts_of(part: Mapping[str, Any], role: str | None) -> list[dict[str, Any]] | None:
    """Return the copy of a part as a list; empty for a part without text. Return None if it cannot be copied."""
    speaks = role == "assistant"
    match {"type": "text", **part}:
        case {"type": "text" | "input_text" | "output_text", "text": {"value": str(text)} | str(text)}:
            copied = {"type": "output_text", "text": text, "annotations": []}
            if not speaks:
                copied = {"type": "input_text", "text": text}
            return [copied] if text else []
        case {"type": "refusal", "refusal": str(text)} if speaks:
            return [{"type": "refusal", "refusal": text}]
        case {"type": "image_url", "image_url": {"url": str(url), **more}} if not speaks:
            return [{"type": "input_image", "image_url": url, "detail": lenient_text(more.get("detail")) or "auto"}]
    return None


def _kind(part: object) -> str:
    kind = lenient_text(lenient_mapping(part).get("type"))
    return kind if kind is not None and kind.isidentifier() else "unknown"
