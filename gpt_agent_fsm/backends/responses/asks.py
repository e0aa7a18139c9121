"""The items that the client must answer: function calls, approval requests, and kinds that the library cannot answer.

While such an item has no answer, the server refuses to create another response on the conversation. So for each kind,
this module makes an answer that closes the item. Tools that the server runs itself (searches, code interpreters,
images, MCP calls) need no answer from the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["ENDED", "closing_item", "decision", "describe", "is_answer", "is_approval", "is_function_call"]

_SENTENCE = "The run that asked for this was ended before its output was used."
ENDED = json.dumps({"error": _SENTENCE}, separators=(",", ":"))
"""The output for a call that will never get a real output."""

_FUNCTION_CALL, _APPROVAL = "function_call", "mcp_approval_request"
# The smallest picture. The answer to a computer call must contain a picture.
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAA"
    "DUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def _refusal(item_id: str) -> Mapping[str, Any]:
    return {"type": "mcp_approval_response", "approval_request_id": item_id, "approve": False, "reason": _SENTENCE}


def _screenshot(item_id: str) -> Mapping[str, Any]:
    output = {"type": "computer_screenshot", "image_url": _PIXEL}
    return {"type": "computer_call_output", "call_id": item_id, "output": output}


def _shell_output(item_id: str) -> Mapping[str, Any]:
    output = [{"stdout": "", "stderr": _SENTENCE, "outcome": {"type": "exit", "exit_code": 1}}]
    return {"type": "shell_call_output", "call_id": item_id, "output": output}


def _failed_patch(item_id: str) -> Mapping[str, Any]:
    return {"type": "apply_patch_call_output", "call_id": item_id, "status": "failed", "output": _SENTENCE}


_CLOSING: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    _FUNCTION_CALL: lambda id_: {"type": "function_call_output", "call_id": id_, "output": ENDED},
    "custom_tool_call": lambda id_: {"type": "custom_tool_call_output", "call_id": id_, "output": ENDED},
    "local_shell_call": lambda id_: {"type": "local_shell_call_output", "id": id_, "output": ENDED},
    "shell_call": _shell_output,
    "apply_patch_call": _failed_patch,
    "computer_call": _screenshot,
    _APPROVAL: _refusal,
}


def closing_item(kind: str | None, item_id: str) -> Mapping[str, Any] | None:
    """Return an answer that closes the item `item_id` of this kind. Return None if this kind needs no answer."""
    make = _CLOSING.get(kind or "")
    return None if make is None else make(item_id)


def is_function_call(kind: str | None) -> bool:
    """Return whether items of this kind are function calls. The user's code answers them."""
    return kind == _FUNCTION_CALL


def is_approval(kind: str | None) -> bool:
    """Return whether items of this kind ask a person to approve a call that the server makes itself."""
    return kind == _APPROVAL


def decision(item_id: str, text: str) -> Mapping[str, Any]:
    """Return the answer to a request for an approval. `text` is as in `ToolOutputsRequest.decisions`."""
    return {"type": "mcp_approval_response", "approval_request_id": item_id, **json.loads(text)}


def is_answer(kind: str | None) -> bool:
    """Return whether items of this kind are answers to other items."""
    return kind == "mcp_approval_response" or (kind or "").endswith("_call_output")


def describe(kinds: Sequence[str | None]) -> str:
    """Return a clause that names the kinds that the library cannot answer, or "" if it can answer all `kinds`."""
    others = sorted({kind for kind in kinds if kind and not is_function_call(kind) and not is_approval(kind)})
    return f"it waits for {' and '.join(others)}, which gpt-agent-fsm cannot answer" if others else ""
