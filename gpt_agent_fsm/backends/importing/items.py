"""Turns a thread's messages into the items of a conversation, and counts the parts that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
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


def plan_for(messages: Sequence[ThreadMessage], files: Container[str] = ()) -> Plan:
    """Return the plan for these messages. Its items are in the order of the messages.

    `files` contains the ids of the files that a conversation can name.
    """
    left_out: Counter[str] = Counter()
    items = [item for message in messages if (item := _item_of(message, files, left_out)) is not None]
    return Plan(items=items, left_out=dict(left_out), messages_left_out=len(messages) - len(items))


def essence_of(role: str | None, content: object) -> tuple[str | None, str]:
    """Return the role and the text of a message, by which two messages are compared. Servers may change the rest.

    Differences in white space, and in the division of the text into parts, are ignored.
    """
    return role, " ".join(text_of(content).split())


def _item_of(message: ThreadMessage, files: Container[str], left_out: Counter[str]) -> dict[str, Any] | None:
    """Return the item for a message, or None if it has no part to copy. Count the parts that are left out."""
    content = message.content
    given = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    parts: list[dict[str, Any]] = []
    for part in given:
        copied = _parts_of(lenient_mapping(part), message.role, files)
        parts += copied or []
        if copied is None:
            left_out[_kind(part)] += 1
    for attachment in message.attachments if isinstance(message.attachments, list) else ():
        file = _attached_file(lenient_mapping(attachment), message.role, files)
        parts += file
        if not file:
            left_out["attachment"] += 1
    if not parts or message.role not in _ROLES:
        return None
    return {"type": "message", "role": message.role, "content": parts}


def _attached_file(attachment: Mapping[str, Any], role: str | None, files: Container[str]) -> list[dict[str, Any]]:
    """Return a list with the part for an attached file. If the file cannot be copied, the list is empty.

    A conversation shows each file to the model. So a file is copied only if it is attached for file search, because
    then the model was meant to read it.
    """
    file_id, tools = lenient_text(attachment.get("file_id")), attachment.get("tools")
    kinds = [lenient_mapping(tool).get("type") for tool in tools] if isinstance(tools, list) else []
    if role != "user" or "file_search" not in kinds or file_id is None or file_id not in files:
        return []
    return [{"type": "input_file", "file_id": file_id}]


def _parts_of(part: Mapping[str, Any], role: str | None, files: Container[str]) -> list[dict[str, Any]] | None:
    """Return the copy of a part, as a list. For an empty text, the list is empty.

    Return None if the part cannot be copied.
    """
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
            return [{"type": "input_image", "image_url": url, "detail": _detail(more)}]
        case {"type": "image_file", "image_file": {"file_id": str(id_), **more}} if not speaks and id_ in files:
            return [{"type": "input_image", "file_id": id_, "detail": _detail(more)}]
    return None


def _detail(image: Mapping[Any, Any]) -> str:
    return lenient_text(image.get("detail")) or "auto"


def _kind(part: object) -> str:
    kind = lenient_text(lenient_mapping(part).get("type"))
    return kind if kind is not None and kind.isidentifier() else "unknown"
