"""The content of messages in the form of chat completions: the text, and also all parts if some part is not text."""

import binascii
import re

from gpt_agent_fsm.local.http.error_responses import ApiProblem, bad_request
from gpt_agent_fsm.local.shared.storage import Doc

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_STANDARD = str.maketrans("-_", "+/")
"""From the alphabet that URLs allow to the standard alphabet."""
_CHAT_DETAILS = {"low": "low", "high": "high", "original": "high"}


def chat_message(role: str, text: str, parts: list[Doc]) -> Doc:
    """Return a chat message. Its `parts`, in the form of chat completions, are left out if all of them are text."""
    message: Doc = {"role": role, "content": text}
    return message | {"parts": parts} if any(part["type"] != "text" for part in parts) else message


def chat_text_part(text: str) -> Doc:
    """Return a text as a part of a chat message."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None) -> Doc:
    """Return an image as a part of a chat message."""
    level = {"detail": _CHAT_DETAILS[detail]} if detail in _CHAT_DETAILS else {}
    return {"type": "image_url", "image_url": {"url": url} | level}


def chat_call(call_id: str, name: str, arguments: str) -> Doc:
    """Return a call as an entry of the `tool_calls` of a chat message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def decision_message(call_id: str, approve: bool, reason: str | None = None) -> Doc:
    """Return the decision about a request for an approval as the tool message for its call."""
    decision = "Approved" if approve else "Denied"
    return {"role": "tool", "tool_call_id": call_id, "content": f"{decision}: {reason}" if reason else f"{decision}."}


def check_image_source(url: str, param: str) -> None:
    """Refuse a URL from which no model could load an image."""
    is_data = (prefix := _DATA_URL.match(url)) is not None and _is_base64(url[prefix.end() :])
    if not is_data and not _URL.fullmatch(url):
        message = f"Invalid '{param}': expected an http or https URL, or a base64 data URL of an image."
        raise bad_request(message, param, "invalid_value")


def _is_base64(text: str) -> bool:
    """Return whether a text is base64 of either alphabet. The padding may be missing."""
    bare = text.rstrip("=")
    padded = bare.translate(_STANDARD) + "=" * (-len(bare) % 4)
    try:
        return len(text) <= len(bare) + 2 and bool(binascii.a2b_base64(padded, strict_mode=True))
    except ValueError:
        return False


def no_files(param: str, instead: str) -> ApiProblem:
    """Return the 400 for a reference to a file, because this server has no files; `instead` says what to send."""
    message = f"Invalid '{param}': files are not offered by this server; send {instead}."
    return bad_request(message, param, "not_offered")
