"""Input that only clients of the Assistants API send: messages, tools and tool resources.

Every function returns a checked value, or raises the `ApiProblem` that says what is wrong.
"""

from collections.abc import Mapping
from typing import Any, Literal

from gpt_agent_fsm.local.http.error_responses import bad_request, missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.parts import check_image_source
from gpt_agent_fsm.local.shared.storage import Doc


def role(body: Mapping[str, Any], *, prefix: str = "") -> Literal["user", "assistant"]:
    """Return the role of a message."""
    value = validation.text(body, "role", prefix=prefix)
    if value is None:
        raise missing(f"{prefix}role")
    if value == "user":
        return "user"
    if value == "assistant":
        return "assistant"
    raise wrong_value(f"{prefix}role", value, "'user' and 'assistant'")


def content(body: Mapping[str, Any], *, prefix: str = "") -> list[Doc]:
    """Return the content of a message in its stored form, which is a list of parts. Clients may also send a string."""
    param = f"{prefix}content"
    value = body.get("content")
    if value is None:
        raise missing(param)
    if isinstance(value, str):
        value = [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array of objects", value)
    parts = [_part(part, f"{param}[{index}]") for index, part in enumerate(value)]
    # An image is enough for a message; blank texts alone are not.
    if all(part["type"] == "text" and not part["text"]["value"].strip() for part in parts):
        raise bad_request("Message content must be non-empty.", param)
    return parts


def _part(part: object, param: str) -> Doc:
    if not isinstance(part, dict):
        raise wrong_type(param, "an object", part)
    kind = validation.text(part, "type", prefix=f"{param}.")
    if kind is None:
        raise missing(f"{param}.type")
    if kind == "text":
        # In a message that this server returns, the text is in an object. Clients may send such a part back.
        own = part.get("text")
        value = (
            validation.text(own, "value", prefix=f"{param}.text.")
            if isinstance(own, dict)
            else validation.text(part, "text", prefix=f"{param}.")
        )
        if value is None:
            raise missing(f"{param}.text")
        return {"type": "text", "text": {"value": value, "annotations": []}}
    if kind not in ("image_file", "image_url"):
        raise wrong_value(f"{param}.type", kind, "'text', 'image_url' and 'image_file'")
    return {"type": kind, kind: _image(part, kind, f"{param}.{kind}")}


def _image(part: Mapping[str, Any], kind: str, param: str) -> Doc:
    image = part.get(kind)
    if not isinstance(image, dict):
        raise missing(param)
    name = "url" if kind == "image_url" else "file_id"
    source = validation.required_text(image, name, prefix=f"{param}.", longest=validation.NO_LIMIT)
    if kind == "image_url":
        check_image_source(source, f"{param}.url")
    level = validation.choice(image, "detail", choices=("auto", "low", "high"), prefix=f"{param}.")
    return {name: source, "detail": level or "auto"}


_TOOLS = ("code_interpreter", "file_search")


def attachments(body: Mapping[str, Any], *, prefix: str = "") -> list[Doc]:
    """Return the files that are attached to a message, each with the tools that it is meant for."""
    given = validation.objects(body, "attachments", prefix=prefix) or []
    return [_attachment(each, f"{prefix}attachments[{index}].") for index, each in enumerate(given)]


def _attachment(given: Doc, prefix: str) -> Doc:
    file_id = validation.required_text(given, "file_id", prefix=prefix)
    tools = validation.objects(given, "tools", prefix=prefix) or []
    for index, tool in enumerate(tools):
        if validation.choice(tool, "type", choices=_TOOLS, prefix=f"{prefix}tools[{index}].") is None:
            raise missing(f"{prefix}tools[{index}].type")
    return {"file_id": file_id, "tools": [{"type": tool["type"]} for tool in tools]}


def tools(body: Mapping[str, Any]) -> list[Doc] | None:
    """Return the definitions of functions. Return None if they are absent or null."""
    definitions = validation.tool_objects(body)
    for index, definition in enumerate(definitions or ()):
        place = f"tools[{index}].function"
        function = validation.mapping(definition, "function", prefix=f"tools[{index}].")
        if function is None:
            raise missing(place)
        validation.check_function(function, f"{place}.")
        # A null field has the same meaning as an absent field, and the HTTP answer leaves it out.
        definition["function"] = {name: value for name, value in function.items() if value is not None}
    return definitions


def answers(body: Mapping[str, Any]) -> dict[str, list[tuple[str, str | bool]]]:
    """Return the `tool_outputs` and `tool_approvals` of a body. Each is a list of pairs: a call id and its answer."""
    given = {name: validation.objects(body, name) for name in ("tool_outputs", "tool_approvals")}
    if given == dict.fromkeys(given):
        raise missing("tool_outputs")
    return {
        name: [_answer(answer, f"{name}[{index}].", name) for index, answer in enumerate(sent or ())]
        for name, sent in given.items()
    }


def _answer(answer: Doc, prefix: str, name: str) -> tuple[str, str | bool]:
    call_id = validation.required_text(answer, "tool_call_id", prefix=prefix)
    if name == "tool_outputs":
        return call_id, validation.text(answer, "output", prefix=prefix, longest=1_048_576) or ""
    # The headers belong to the MCP call. This server does not make the call (the model may), so it only checks them.
    validation.mapping(answer, "headers", prefix=prefix)
    return call_id, validation.required_boolean(answer, "approve", prefix=prefix)


def tool_resources(body: Mapping[str, Any]) -> Doc | None:
    """Return the tool resources. Return None if they are absent or null."""
    resources = validation.mapping(body, "tool_resources")
    for name in ("code_interpreter", "file_search"):
        # Clients send empty resources for tools that they do not use.
        if any((validation.mapping(resources or {}, name, prefix="tool_resources.") or {}).values()):
            raise not_offered(f"The tool '{name}' is", f"tool_resources.{name}")
    return None if resources is None else {name: value for name, value in resources.items() if value is not None}
