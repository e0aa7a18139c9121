"""Converts the content of messages into the form of chat completions: a text, and all parts if one is not text."""

import base64
import binascii
import mimetypes
import re

from gpt_agent_fsm.local.http.error_responses import bad_request
from gpt_agent_fsm.local.shared.storage import Doc

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_STANDARD = str.maketrans("-_", "+/")
"""The translation from the base64 alphabet for URLs to the standard base64 alphabet."""
_CHAT_DETAILS = {"low": "low", "high": "high", "original": "high"}


def chat_message(role: str, text: str, parts: list[Doc]) -> Doc:
    """Return a chat message. The `parts` must have the form of chat completions.

    The message has a field `parts` only if `parts` contains more than the `text`.
    """
    message: Doc = {"role": role, "content": text}
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return message if len(texts) == len(parts) and "\n".join(texts) == text else message | {"parts": parts}


def chat_text_part(text: str) -> Doc:
    """Return a text as a part of a chat message."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None) -> Doc:
    """Return an image as a part of a chat message."""
    level = {"detail": _CHAT_DETAILS[detail]} if detail in _CHAT_DETAILS else {}
    return {"type": "image_url", "image_url": {"url": url} | level}


_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
"""The types of images that models can see, by the first bytes of an image. `image_type` recognises WebP separately."""


def image_type(content: bytes) -> str | None:
    """Return the MIME type of an image, such as `image/png`.

    Return None if models cannot see this content as an image.
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _IMAGES.items() if content.startswith(start)), None)


def file_part(name: str, content: bytes) -> Doc:
    """Return a file as a part of a chat message.

    An image becomes an image part. A text becomes a text part, which begins with the name of the file. Any other
    content becomes a file part.
    """
    if (kind := image_type(content)) is not None:
        return image_part(data_url(kind, content), None)
    if (text := _text_in(content)) is not None:
        return chat_text_part(f"File {name}:\n{text}")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {"type": "file", "file": {"filename": name, "file_data": data_url(kind, content)}}


def sent_file_part(name: str, file_data: str) -> Doc:
    """Convert a file that a client has sent in base64 to a part of a chat message. See `file_part`."""
    try:
        return file_part(name, content_of(file_data))
    except ValueError:
        # Earlier versions accepted every text, so their databases may contain text that is not base64.
        return {"type": "file", "file": {"filename": name, "file_data": file_data}}


def _text_in(content: bytes) -> str | None:
    """Return the content of a file as text. Return None if the content is not text.

    The file's name is not considered.
    """
    # A PDF may consist of ASCII characters only, but is not what people call text.
    if content.startswith(b"%PDF-") or b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def data_url(kind: str, content: bytes) -> str:
    """Return the content as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def content_of(file_data: str) -> bytes:
    """Return the content of a file that a client has sent in base64. `file_data` may be a data URL or only base64.

    Raises `ValueError`.
    """
    head, _, encoded = file_data.rpartition(",")
    if head and not (head.startswith("data:") and head.endswith(";base64")):
        raise ValueError("a data URL in base64 is expected")
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error


def chat_call(call_id: str, name: str, arguments: str) -> Doc:
    """Return a call as an entry of the `tool_calls` of a chat message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def decision_message(call_id: str, approve: bool, reason: str | None = None) -> Doc:
    """Return the tool message that answers a call with the decision about its approval request."""
    decision = "Approved" if approve else "Denied"
    return {"role": "tool", "tool_call_id": call_id, "content": f"{decision}: {reason}" if reason else f"{decision}."}


def check_image_source(url: str, param: str) -> None:
    """Refuse a URL from which no model could load an image."""
    is_data = (prefix := _DATA_URL.match(url)) is not None and _is_base64(url[prefix.end() :])
    if not is_data and not _URL.fullmatch(url):
        message = f"Invalid '{param}': expected an http or https URL, or a base64 data URL of an image."
        raise bad_request(message, param, "invalid_value")


def _is_base64(text: str) -> bool:
    """Return whether a text is base64 in the standard alphabet or that for URLs. The padding may be missing."""
    bare = text.rstrip("=")
    padded = bare.translate(_STANDARD) + "=" * (-len(bare) % 4)
    try:
        return len(text) <= len(bare) + 2 and bool(binascii.a2b_base64(padded, strict_mode=True))
    except ValueError:
        return False
