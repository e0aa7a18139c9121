"""Input that only clients of the Assistants API send: messages, tools and tool resources.

Every function returns a checked value, or raises the `ApiProblem` that says what is wrong.
"""

from collections.abc import Mapping
from typing import Any, Literal

from gpt_agent_fsm.local.http.error_responses import bad_request, missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.parts import check_image_source, no_files
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
    """Return the content of a message as the API stores it: a list of parts. Clients may also send a string."""
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
        # Messages that this server returns have the text in an object, and clients may send their parts again.
        own = part.get("text")
        value = (
            validation.text(own, "value", prefix=f"{param}.text.")
            if isinstance(own, dict)
            else validation.text(part, "text", prefix=f"{param}.")
        )
        if value is None:
            raise missing(f"{param}.text")
        return {"type": "text", "text": {"value": value, "annotations": []}}
    if kind == "image_file":
        raise no_files(f"{param}.image_file", "an 'image_url'")
    if kind != "image_url":
        raise wrong_value(f"{param}.type", kind, "'text' and 'image_url'")
    return {"type": kind, kind: _image(part, f"{param}.{kind}")}


def _image(part: Mapping[str, Any], param: str) -> Doc:
    image = part.get("image_url")
    if not isinstance(image, dict):
        raise missing(param)
    url = validation.required_text(image, "url", prefix=f"{param}.", longest=validation.NO_LIMIT)
    check_image_source(url, f"{param}.url")
    level = validation.choice(image, "detail", choices=("auto", "low", "high"), prefix=f"{param}.")
    return {"url": url, "detail": level or "auto"}


def attachments(body: Mapping[str, Any], *, prefix: str = "") -> list[Doc]:
    """Return the empty list of a message's files. Raises the 501 if the message has files, because there are none here.

    An absent, null or empty list of attachments is accepted.
    """
    if validation.objects(body, "attachments", prefix=prefix):
        raise not_offered("Files are", f"{prefix}attachments")
    return []


def tools(body: Mapping[str, Any]) -> list[Doc] | None:
    """Return the definitions of functions; `None` when they are absent or null."""
    definitions = validation.tool_objects(body)
    for index, definition in enumerate(definitions or ()):
        place = f"tools[{index}].function"
        function = validation.mapping(definition, "function", prefix=f"tools[{index}].")
        if function is None:
            raise missing(place)
        validation.check_function(function, f"{place}.")
        # A null field counts as left out, and the HTTP answer leaves the field out.
        definition["function"] = {name: value for name, value in function.items() if value is not None}
    return definitions


def answers(body: Mapping[str, Any]) -> dict[str, list[tuple[str, str | bool]]]:
    """Return the `tool_outputs` and `tool_approvals` of a body, each as a list of call ids with their answers."""
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
    # The headers are for the call. This server does not make the call (the model may), so they are only checked.
    validation.mapping(answer, "headers", prefix=prefix)
    return call_id, validation.required_boolean(answer, "approve", prefix=prefix)


def tool_resources(body: Mapping[str, Any]) -> Doc | None:
    """Return the tool resources; `None` when they are absent or null."""
    resources = validation.mapping(body, "tool_resources")
    for name in ("code_interpreter", "file_search"):
        # Clients send empty resources for tools that they do not use.
        if any((validation.mapping(resources or {}, name, prefix="tool_resources.") or {}).values()):
            raise not_offered(f"The tool '{name}' is", f"tool_resources.{name}")
    return None if resources is None else {name: value for name, value in resources.items() if value is not None}
