"""Converts a user's message with images and files for the Responses API, and names the parts that this API refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpt_agent_fsm.ports import File, Image, Part, Text, media

__all__ = ["refused_parts", "user_message"]

_NO_TOOLS = "The Responses API shows a file to the model itself, not to tools: leave out the tools of the file."


def refused_parts(parts: Sequence[Part]) -> str | None:
    """Return a sentence that says which of these parts the API does not accept. Return None if it accepts them all."""
    return _NO_TOOLS if any(isinstance(part, File) and part.tools for part in parts) else None


def user_message(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the item for a user's message with these parts."""
    return {"type": "message", "role": "user", "content": [_content_part(part) for part in parts]}


def _content_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    kind = "input_image" if isinstance(part, Image) else "input_file"
    if part.file_id is not None:
        return {"type": kind, "file_id": part.file_id}
    if part.url is not None:
        return {"type": kind, "image_url" if isinstance(part, Image) else "file_url": part.url}
    data = part.data or b""
    if isinstance(part, Image):
        return {"type": kind, "image_url": media.data_url(media.mime_type(data), data)}
    name = part.name or media.default_name(data)
    return {"type": kind, "filename": name, "file_data": media.data_url(media.mime_type(data, name), data)}
