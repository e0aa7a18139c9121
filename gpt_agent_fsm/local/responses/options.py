"""The options of responses: their defaults, their checks, and their form in a `ModelRequest`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared import options, validation
from gpt_agent_fsm.local.shared.options import (
    EFFORTS,
    Check,
    Options,
    json_schema,
    named,
    nothing_more,
    optional_boolean,
    refused,
    tool_choice,
    unsupported,
    without_effect,
)
from gpt_agent_fsm.local.shared.storage import Doc


def _allowed_tools(value: Mapping[str, Any], prefix: str) -> None:
    if validation.choice(value, "mode", choices=("auto", "required"), prefix=prefix) is None:
        raise missing(f"{prefix}mode")
    tools = validation.objects(value, "tools", prefix=prefix)
    if not tools:
        raise missing(f"{prefix}tools")
    for index, tool in enumerate(tools):
        place = f"{prefix}tools[{index}]."
        kind = validation.text(tool, "type", prefix=place) or "function"
        if kind != "function":
            raise not_offered(f"A tool of type '{kind[:100]}' is", f"{place}type")
        validation.required_text(tool, "name", prefix=place)


def _reasoning(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    effort = validation.choice(value, "effort", choices=EFFORTS, prefix=f"{name}.")
    summary = validation.choice(value, "summary", choices=("auto", "concise", "detailed"), prefix=f"{name}.")
    return {"effort": effort, "summary": summary}


_SCHEMA_FIELDS = ("name", "description", "schema", "strict")


def _text(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    kinds: dict[str, Check] = {
        "text": nothing_more,
        "json_object": nothing_more,
        "json_schema": partial(json_schema, is_required=True),
    }
    form = validation.mapping(value, "format", prefix=f"{name}.")
    if form is not None:
        kind = validation.required_text(form, "type", prefix=f"{name}.format.")
        if kind not in kinds:
            raise wrong_value(f"{name}.format.type", kind, ", ".join(f"'{each}'" for each in kinds))
        kinds[kind](form, f"{name}.format.")
        form = {
            field: form[field]
            for field in ("type", *(_SCHEMA_FIELDS if kind == "json_schema" else ()))
            if field in form
        }
    verbosity = validation.choice(value, "verbosity", choices=("low", "medium", "high"), prefix=f"{name}.")
    return {"format": form or {"type": "text"}, "verbosity": verbosity}


def _include(body: Mapping[str, Any], name: str) -> None:
    """Check the list `include`, which names additional data; see `hosted`.

    It may name data that this server never has.
    """
    value = body.get(name)
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise wrong_type(name, "an array of strings", value)
    if "message.output_text.logprobs" in (value or ()):
        raise unsupported("include[message.output_text.logprobs]")


def _no_logprobs(body: Mapping[str, Any], name: str) -> None:
    if validation.integer(body, name, minimum=0, maximum=20):
        raise unsupported(name)


_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")

# The default of each option, and its check.
# fmt: off
RESPONSE: Options = options.SAMPLING | {
    "max_tool_calls":      (None,       partial(validation.integer, minimum=1)),
    "parallel_tool_calls": (True,       optional_boolean),
    "prompt_cache_key":    (None,       validation.text),
    "reasoning":           ({"effort": None, "summary": None}, _reasoning),
    "safety_identifier":   (None,       partial(validation.text, longest=64)),
    "service_tier":        ("default",  without_effect(partial(validation.choice, choices=_TIERS))),
    "text":                ({"format": {"type": "text"}, "verbosity": None}, _text),
    "tool_choice":         ("auto",     partial(tool_choice, kinds={
                                            "function": named, "allowed_tools": _allowed_tools})),
    "top_logprobs":        (0,          _no_logprobs),
    "truncation":          ("disabled", without_effect(partial(validation.choice, choices=("auto", "disabled")))),
    "user":                (None,       validation.text),
}

# Options of a request that are not fields of its response.
UNSEEN: Options = {
    "context_management":     (None, refused),
    "include":                (None, _include),
    "moderation":             (None, refused),
    "prompt_cache_options":   (None, validation.mapping),
    "prompt_cache_retention": (None, validation.text),
    "stream_options":         (None, validation.mapping),
}
# fmt: on

NAMES = (
    RESPONSE.keys()
    | UNSEEN.keys()
    | {"background", "conversation", "input", "instructions", "max_output_tokens", "metadata", "model"}
    | {"previous_response_id", "prompt", "store", "stream", "tools"}
)
"""The names of all fields of a request for a response."""

INSTEAD = {
    "max_completion_tokens": "belongs to other requests: send 'max_output_tokens'",
    "max_tokens": "belongs to other requests: send 'max_output_tokens'",
    "messages": "belongs to chat completions: send 'input'",
    "reasoning_effort": "belongs to other requests: send 'reasoning' with 'effort'",
    "response_format": "belongs to other requests: send 'text' with 'format'",
    "verbosity": "belongs to other requests: send 'text' with 'verbosity'",
}
"""The advice for a client that sends the name of a field in another API."""


def check_tool_choice(response: Doc) -> None:
    """Refuse a `tool_choice` that the tools of the response cannot satisfy."""
    choice = response["tool_choice"]
    options.check_tool_choice(choice, [tool["name"] for tool in response["tools"]], _chosen_names(choice))


def _chosen_names(choice: object) -> list[str]:
    if not isinstance(choice, dict):
        return []
    return [tool["name"] for tool in choice["tools"]] if choice["type"] == "allowed_tools" else [choice["name"]]


def offered(response: Doc) -> list[Doc]:
    """Return the tools that the model may use: the tools that `allowed_tools` names, or else all tools."""
    tools, choice = response["tools"], response["tool_choice"]
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        return [tool for tool in tools if tool["name"] in _chosen_names(choice)]
    return list(tools)


def for_model(response: Doc) -> dict[str, Any]:
    """Return the options of a response as fields of a `ModelRequest`."""
    form, tools = response["text"]["format"], response["tools"]
    return options.for_model(response, tools) | {
        "reasoning_effort": response["reasoning"]["effort"],
        "verbosity": response["text"]["verbosity"],
        "response_format": _response_format(form),
        "tool_choice": _tool_choice(response["tool_choice"]) if tools else None,
    }


def _response_format(form: Doc) -> Doc | None:
    if form["type"] == "text":
        return None
    fields = {name: value for name, value in form.items() if name != "type" and value is not None}
    return {"type": form["type"]} | ({"json_schema": fields} if form["type"] == "json_schema" else {})


def _tool_choice(choice: str | Doc) -> str | Doc | None:
    if isinstance(choice, dict):
        if choice["type"] == "function":
            return {"type": "function", "function": {"name": choice["name"]}}
        # `allowed_tools` leaves only its mode, because the other tools are not offered to the model.
        choice = str(choice["mode"])
    return None if choice == "auto" else choice
