"""The items of conversations and responses: the forms that clients may send, and the stored form.

The server gives every stored item a new id, even if the client sent an id, because clients may send the items of a
response again.
"""

from collections.abc import Mapping
from typing import Any

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import missing, wrong_type, wrong_value
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ToolCall
from gpt_agent_fsm.local.shared import parts as chat
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc

MAX_ITEMS = 20
"""The maximum number of items that may be added to a conversation at once."""

_INPUT_PARTS = ("input_text", "input_image", "input_file")
_PARTS = {
    "user": _INPUT_PARTS,
    "assistant": ("output_text", "refusal"),
    # Messages of the system and the developer become instructions, which are only text.
    "system": ("input_text",),
    "developer": ("input_text",),
}
"""The types of parts that a message may have, by the role of the message."""


def given(body: Mapping[str, Any], name: str, maximum: int) -> list[Doc]:
    """Return the items that a client sent in this field. If the field is absent or null, return an empty list.

    The items are ready to be stored, except for references. Reasoning is left out, because no model here reads it.
    Raises `ApiProblem`.
    """
    sent = validation.objects(body, name, maximum=maximum) or []
    items = [_read(item, f"{name}[{index}]") for index, item in enumerate(sent)]
    return [item for item in items if item["type"] != "reasoning"]


def of_input(body: Mapping[str, Any]) -> list[Doc]:
    """Return the items of a response's `input`. A string becomes a message of the user. Raises `ApiProblem`."""
    sent = body.get("input")
    if isinstance(sent, str):
        body = {"input": [{"role": "user", "content": sent}] if sent else []}
    elif sent is not None and not isinstance(sent, list):
        raise wrong_type("input", "a string or an array of objects", sent)
    return given(body, "input", 1000)


def answer(item_id: str, text: str, status: str) -> Doc:
    """Return a message of the model."""
    content = [] if status == "in_progress" else [output_text_part(text)]
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def output_text_part(text: str) -> Doc:
    """Return the part of an answer that contains this text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def tool_call(call: ToolCall) -> Doc:
    """Return the item for a model's tool call. The call's arguments must already be text."""
    called = {"call_id": ids.new_id("call"), "name": call.name, "arguments": call.arguments}
    return _item(CALL, "fc") | called


def approval_request(call: ApprovalRequest) -> Doc:
    """Return the item that asks for the approval of a call. The call's arguments must already be text."""
    called = {"name": call.name, "arguments": call.arguments, "server_label": call.server_label}
    return {"id": ids.new_id("mcpr"), "type": APPROVAL_REQUEST} | called


CALL, CALL_OUTPUT = "function_call", "function_call_output"
APPROVAL_REQUEST, APPROVAL_RESPONSE = "mcp_approval_request", "mcp_approval_response"


def key_of_ask(item: Doc) -> str | None:
    """Return the id that an answer to this item must name. Return None if the item needs no answer from the client."""
    name = {CALL: "call_id", APPROVAL_REQUEST: "id"}.get(item["type"])
    return None if name is None else str(item[name])


def key_of_answer(item: Doc) -> str | None:
    """Return the id that this item names as the call or approval request it answers. Return None if it is no answer."""
    name = {CALL_OUTPUT: "call_id", APPROVAL_RESPONSE: "approval_request_id"}.get(item["type"])
    return None if name is None else str(item[name])


def text_of(content: str | list[Doc]) -> str:
    """Return the text in a message's content or a tool's output. The texts of its parts are joined by newlines."""
    if isinstance(content, str):
        return content
    return "\n".join(part[name] for part in content for name in ("text", "refusal") if name in part)


def chat_parts(content: str | list[Doc]) -> list[Doc]:
    """Return the parts of a chat message for a message's content or a tool's output."""
    if isinstance(content, str):
        return [chat.chat_text_part(content)]
    return [_chat_part(part) for part in content]


def _chat_part(part: Doc) -> Doc:
    if part["type"] == "input_image":
        return chat.image_part(part.get("image_url", ""), part.get("detail"))
    if part["type"] == "input_file":
        return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if name in part}}
    return chat.chat_text_part(part["refusal" if part["type"] == "refusal" else "text"])


def _item(kind: str, prefix: str) -> Doc:
    return {"id": ids.new_id(prefix), "type": kind, "status": "completed"}


def _read(item: Doc, place: str) -> Doc:
    # A client may send a reference without its type.
    default = "item_reference" if item.keys() == {"id"} else "message"
    kind = default if item.get("type") is None else validation.required_text(item, "type", prefix=f"{place}.")
    if kind not in _READERS:
        raise wrong_value(f"{place}.type", kind, ", ".join(f"'{each}'" for each in _READERS))
    return _READERS[kind](item, f"{place}.")


def _message(item: Doc, prefix: str) -> Doc:
    role = validation.required_text(item, "role", prefix=prefix)
    if role not in _PARTS:
        raise wrong_value(f"{prefix}role", role, "'assistant', 'system', 'developer', and 'user'")
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": _PARTS[role][0], "text": content}]
    parts = _parts(content, f"{prefix}content", _PARTS[role])
    return _item("message", "msg") | {"role": role, "content": parts}


def _call(item: Doc, prefix: str) -> Doc:
    called = {name: validation.required_text(item, name, prefix=prefix) for name in ("call_id", "name")}
    arguments = validation.text(item, "arguments", prefix=prefix, longest=validation.NO_LIMIT)
    if arguments is None:
        raise missing(f"{prefix}arguments")
    return _item(CALL, "fc") | called | {"arguments": arguments}


def _output(item: Doc, prefix: str) -> Doc:
    call_id = validation.required_text(item, "call_id", prefix=prefix)
    output = item.get("output")
    if not isinstance(output, str):
        output = _parts(output, f"{prefix}output", _INPUT_PARTS)
    return _item(CALL_OUTPUT, "fco") | {"call_id": call_id, "output": output}


def _approval_request(item: Doc, prefix: str) -> Doc:
    names = ("id", "name", "arguments", "server_label")
    return {"type": APPROVAL_REQUEST} | {name: validation.required_text(item, name, prefix=prefix) for name in names}


def _approval_response(item: Doc, prefix: str) -> Doc:
    request_id = validation.required_text(item, "approval_request_id", prefix=prefix)
    reason = validation.text(item, "reason", prefix=prefix)
    answer = {"approval_request_id": request_id, "approve": validation.required_boolean(item, "approve", prefix=prefix)}
    return {"id": ids.new_id("mcpa"), "type": APPROVAL_RESPONSE} | answer | {"reason": reason}


def _reference(item: Doc, prefix: str) -> Doc:
    return {"type": "item_reference", "id": validation.required_text(item, "id", prefix=prefix)}


def _reasoning(item: Doc, prefix: str) -> Doc:
    validation.objects(item, "summary", prefix=prefix)
    return {"type": "reasoning"}


_READERS = {
    "message": _message,
    CALL: _call,
    CALL_OUTPUT: _output,
    APPROVAL_REQUEST: _approval_request,
    APPROVAL_RESPONSE: _approval_response,
    "item_reference": _reference,
    "reasoning": _reasoning,
}


def _parts(value: object, param: str, kinds: tuple[str, ...]) -> list[Doc]:
    if value is None:
        raise missing(param)
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array of objects", value)
    return [_part(part, f"{param}[{index}]", kinds) for index, part in enumerate(value)]


def _part(part: object, place: str, kinds: tuple[str, ...]) -> Doc:
    if not isinstance(part, dict):
        raise wrong_type(place, "an object", part)
    kind = validation.required_text(part, "type", prefix=f"{place}.")
    if kind not in kinds:
        raise wrong_value(f"{place}.type", kind, ", ".join(f"'{each}'" for each in kinds))
    if kind in ("input_image", "input_file"):
        return _attachment(part, place, kind)
    name = "refusal" if kind == "refusal" else "text"
    text = validation.text(part, name, prefix=f"{place}.", longest=validation.NO_LIMIT)
    if text is None:
        raise missing(f"{place}.{name}")
    lists = ("annotations", "logprobs") if kind == "output_text" else ()
    return {"type": kind, name: text} | {
        each: validation.objects(part, each, prefix=f"{place}.") or [] for each in lists
    }


def _attachment(part: Doc, place: str, kind: str) -> Doc:
    """Return the stored form of an image or file. The image must be sent as a URL, and the file as its content."""
    sources = ("image_url",) if kind == "input_image" else ("file_data", "filename")
    unavailable = next((name for name in ("file_id", "file_url") if part.get(name) is not None), None)
    if unavailable is not None:
        instead = "the image as its 'image_url'" if kind == "input_image" else "the content itself as 'file_data'"
        raise chat.no_files(f"{place}.{unavailable}", instead)
    read = {name: validation.text(part, name, prefix=f"{place}.", longest=validation.NO_LIMIT) for name in sources}
    found = {name: text for name, text in read.items() if text is not None}
    if sources[0] not in found:
        raise missing(f"{place}.{sources[0]}")
    if kind == "input_file":
        return {"type": kind} | found
    chat.check_image_source(found["image_url"], f"{place}.image_url")
    return {"type": kind} | found | {"detail": _detail(part, place)}


def _detail(part: Doc, place: str) -> str:
    return validation.choice(part, "detail", choices=("low", "high", "auto", "original"), prefix=f"{place}.") or "auto"
