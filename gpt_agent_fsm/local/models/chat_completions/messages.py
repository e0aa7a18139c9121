"""Makes the messages that are sent to a chat-completions server."""

from __future__ import annotations

from typing import Any

from gpt_agent_fsm.local.models.protocol import ModelRequest

__all__ = ["chat_messages"]

_Message = dict[str, Any]


def chat_messages(request: ModelRequest, *, merge_turns: bool) -> list[_Message]:
    """Return the system prompt and the messages.

    If `merge_turns`, messages of one role that follow each other are merged.
    """
    sent: list[_Message] = [{"role": "system", "content": request.instructions}] if request.instructions else []
    for message in map(_with_parts, request.messages):
        if merge_turns and sent and _continues(message, sent[-1]):
            sent[-1] = message | {"content": _joined(sent[-1]["content"], message["content"])}
        else:
            sent.append(message)
    return sent


def _with_parts(message: _Message) -> _Message:
    """Return a message in the form for the server. The content is a list of parts only if there is more than text."""
    if "parts" not in message:
        return message
    content = message["parts"]
    if all(part["type"] == "text" for part in content):
        # Text files are text parts, too. Many servers of models that cannot see accept only a string as the content.
        content = "\n\n".join(part["text"] for part in content)
    return {name: value for name, value in message.items() if name != "parts"} | {"content": content}


def _continues(message: _Message, last: _Message) -> bool:
    """Return whether a message may be merged into the last one.

    Nothing is merged into a message with tool calls, because the outputs must follow it.
    """
    return message["role"] == last["role"] in ("user", "assistant") and "tool_calls" not in last


def _joined(first: str | list[_Message], second: str | list[_Message]) -> str | list[_Message]:
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: str | list[_Message]) -> list[_Message]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
