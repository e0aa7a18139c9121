"""The items of conversations and responses: the forms that clients may send, and the stored form.

The server gives every stored item a new id, even if the client sent an id, because clients may send the items of a
response again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.files import stored
from gpt_agent_fsm.local.http.error_responses import bad_request, missing, wrong_type, wrong_value
from gpt_agent_fsm.local.models.answer_parts import spans
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, Reply, ToolCall
from gpt_agent_fsm.local.responses import hosted
from gpt_agent_fsm.local.shared import parts as chat
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc, Transaction

MAX_ITEMS = 20
"""The maximum number of items that one request may add to a conversation."""

_INPUT_PARTS = ("input_text", "input_image", "input_file")
_PARTS = {
    "user": _INPUT_PARTS,
    "assistant": ("output_text", "refusal"),
    # Messages of the system and the developer become instructions, which are only text.
    "system": ("input_text",),
    "developer": ("input_text",),
}
"""The types of parts that a message may have, by the role of the message."""


def given(tx: Transaction, body: Mapping[str, Any], name: str, maximum: int) -> list[Doc]:
    """Return the items that a client sent in the field `name`. If it is absent or null, return an empty list.

    References are not resolved here. All other items are ready to be stored. Reasoning and the calls of hosted tools
    are left out, because no model here reads them. Raises `ApiProblem`.
    """
    sent = validation.objects(body, name, maximum=maximum) or []
    items = [_read(item, f"{name}[{index}]") for index, item in enumerate(sent)]
    for index, item in enumerate(items):
        _check_files(tx, item, f"{name}[{index}]")
    return [item for item in items if item["type"] not in _UNREAD]


def _check_files(tx: Transaction, item: Doc, place: str) -> None:
    """Raise the 400 if an item names a file that does not exist, or uses as an image a file that is not an image."""
    for name in ("content", "output"):
        parts = item.get(name)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if "file_id" in part:
                check = stored.check_image if part["type"] == "input_image" else stored.check
                check(tx, part["file_id"], f"{place}.{name}[{index}].file_id")


def of_input(tx: Transaction, body: Mapping[str, Any]) -> list[Doc]:
    """Return the items of a response's `input`. A string becomes a message of the user. Raises `ApiProblem`."""
    sent = body.get("input")
    if isinstance(sent, str):
        body = {"input": [{"role": "user", "content": sent}] if sent else []}
    elif sent is not None and not isinstance(sent, list):
        raise wrong_type("input", "a string or an array of objects", sent)
    return given(tx, body, "input", 1000)


def answer(item_id: str, content: list[Doc], status: str) -> Doc:
    """Return a message of the model."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def answer_content(reply: Reply) -> list[Doc]:
    """Return the content of the message for a reply. The list is empty if the reply has only calls."""
    parts: list[Doc] = []
    if reply.text or not (reply.refusal or reply.calls):
        marked = [hosted.annotation(*span) for span in spans(reply.text, reply.annotations)]
        parts.append(output_text_part(reply.text, marked))
    return parts + ([{"type": "refusal", "refusal": reply.refusal}] if reply.refusal else [])


def output_text_part(text: str, annotations: Sequence[Doc] = ()) -> Doc:
    """Return a text as a part of an answer."""
    return {"type": "output_text", "text": text, "annotations": [*annotations], "logprobs": []}


def tool_call(call: ToolCall) -> Doc:
    """Return the item for a model's tool call. The call's arguments must be a text, not an object."""
    called = {"call_id": ids.new_id("call"), "name": call.name, "arguments": call.arguments}
    return _item(CALL, "fc") | called


def approval_request(call: ApprovalRequest) -> Doc:
    """Return the item that asks for the approval of a call. The call's arguments must be a text, not an object."""
    called = {"name": call.name, "arguments": call.arguments, "server_label": call.server_label}
    return {"id": ids.new_id("mcpr"), "type": APPROVAL_REQUEST} | called


CALL, CALL_OUTPUT = "function_call", "function_call_output"
APPROVAL_REQUEST, APPROVAL_RESPONSE = "mcp_approval_request", "mcp_approval_response"


def key_of_ask(item: Doc) -> str | None:
    """Return the id by which an answer must name this item. Return None if the item needs no answer from the client."""
    name = {CALL: "call_id", APPROVAL_REQUEST: "id"}.get(item["type"])
    return None if name is None else str(item[name])


def key_of_answer(item: Doc) -> str | None:
    """Return the id of the call or approval request that this item answers. Return None if it is not an answer."""
    name = {CALL_OUTPUT: "call_id", APPROVAL_RESPONSE: "approval_request_id"}.get(item["type"])
    return None if name is None else str(item[name])


def text_of(content: str | list[Doc]) -> str:
    """Return the text in a message's content or a tool's output. The texts of its parts are joined by newlines."""
    if isinstance(content, str):
        return content
    return "\n".join(part[name] for part in content for name in ("text", "refusal") if name in part)


def chat_parts(tx: Transaction, content: str | list[Doc]) -> list[Doc]:
    """Return the content of a message, or the output of a tool, as parts of a chat message."""
    if isinstance(content, str):
        return [chat.chat_text_part(content)]
    return [_chat_part(tx, part) for part in content]


def _chat_part(tx: Transaction, part: Doc) -> Doc:
    if part["type"] == "input_image":
        if "file_id" in part:
            return stored.as_image(tx, part["file_id"], part["detail"])
        return chat.image_part(part["image_url"], part["detail"])
    if part["type"] == "input_file":
        if "file_id" in part:
            return stored.as_part(tx, part["file_id"])
        return chat.sent_file_part(part.get("filename", "file"), part["file_data"])
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


def _unread(item: Doc, prefix: str) -> Doc:
    validation.objects(item, "summary", prefix=prefix)
    return {"type": item["type"]}


_UNREAD = (hosted.REASONING, *hosted.KINDS)
"""The types of items that clients may send back, but that no model here reads."""


_READERS = {
    "message": _message,
    CALL: _call,
    CALL_OUTPUT: _output,
    APPROVAL_REQUEST: _approval_request,
    APPROVAL_RESPONSE: _approval_response,
    "item_reference": _reference,
    **dict.fromkeys(_UNREAD, _unread),
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
    """Return the stored form of an image or file. Exactly one field of the part must give its content."""
    if part.get("file_url") is not None:
        message = f"Invalid '{place}.file_url': this server fetches no files; send 'file_data' or a 'file_id'."
        raise bad_request(message, f"{place}.file_url", "not_offered")
    sources = ("image_url", "file_id") if kind == "input_image" else ("file_data", "file_id")
    chosen = [name for name in sources if part.get(name) is not None]
    if not chosen:
        raise missing(f"{place}.{sources[0]}")
    if len(chosen) > 1:
        message = f"Mutually exclusive parameters: '{place}.{chosen[0]}' and '{place}.{chosen[1]}'."
        raise bad_request(message, f"{place}.{chosen[1]}", "mutually_exclusive_parameters")
    [source] = chosen
    text = validation.required_text(part, source, prefix=f"{place}.", longest=validation.NO_LIMIT)
    if kind == "input_image":
        if source == "image_url":
            chat.check_image_source(text, f"{place}.image_url")
        return {"type": kind, source: text, "detail": _detail(part, place)}
    if source == "file_data":
        _check_data(text, f"{place}.file_data")
    filename = validation.text(part, "filename", prefix=f"{place}.")
    return {"type": kind, source: text} | ({} if filename is None else {"filename": filename})


def _check_data(file_data: str, param: str) -> None:
    try:
        chat.content_of(file_data)
    except ValueError as error:
        raise bad_request(
            f"Invalid '{param}': expected the file in base64, but {error}.", param, "invalid_value"
        ) from None


def _detail(part: Doc, place: str) -> str:
    return validation.choice(part, "detail", choices=("low", "high", "auto", "original"), prefix=f"{place}.") or "auto"
