"""Converts the images and files of a message for the Assistants API, and names the parts that this API refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gpt_agent_fsm.backends.assistants.wire import key_metadata
from gpt_agent_fsm.ports import File, Image, Part, Text

__all__ = ["message_with_parts", "refused_parts"]

_WEB_ADDRESS = re.compile(r"https?://", re.I)
_NO_DATA = (
    'The Assistants API does not take the data of an image: call runtime.upload(..., purpose="vision") first, and send '
    "Image(file_id=...)."
)
_NO_OTHER_ADDRESS = "The Assistants API takes only images whose url begins with http:// or https://."
_ONLY_FILE_IDS = (
    "The Assistants API takes a file only by its id: call runtime.upload first, and send File(file_id=...)."
)
_ONLY_FILES = "The Assistants API attaches files only to a message with a text or an image: add a text to the message."


def refused_parts(parts: Sequence[Part]) -> str | None:
    """Return a sentence that says which of these parts the API does not accept. Return None if it accepts them all."""
    for part in parts:
        if isinstance(part, Image) and part.data is not None:
            return _NO_DATA
        if isinstance(part, Image) and part.url is not None and not _WEB_ADDRESS.match(part.url):
            return _NO_OTHER_ADDRESS
        if isinstance(part, File) and part.file_id is None:
            return _ONLY_FILE_IDS
    return _ONLY_FILES if all(isinstance(part, File) for part in parts) else None


def message_with_parts(parts: Sequence[Part], key: str) -> dict[str, Any]:
    """Return the body that adds a message with these parts."""
    attachments = [_attachment(part) for part in parts if isinstance(part, File)]
    return {
        "role": "user",
        "content": [_content_part(part) for part in parts if not isinstance(part, File)],
        **({"attachments": attachments} if attachments else {}),
        "metadata": key_metadata(key),
    }


def _content_part(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if part.file_id is not None:
        return {"type": "image_file", "image_file": {"file_id": part.file_id}}
    return {"type": "image_url", "image_url": {"url": part.url}}


def _attachment(file: File) -> dict[str, Any]:
    return {"file_id": file.file_id, "tools": [{"type": name} for name in file.tools or ("file_search",)]}
