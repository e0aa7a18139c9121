"""The options of assistants and runs: their defaults, their checks, and their form in a `ModelRequest`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing
from gpt_agent_fsm.local.shared import options, validation
from gpt_agent_fsm.local.shared.options import (
    EFFORTS,
    Check,
    Options,
    choice_or_object,
    json_schema,
    named,
    nothing_more,
    optional_boolean,
    tool_choice,
    without_effect,
)
from gpt_agent_fsm.local.shared.storage import Doc


def _json_schema(value: Mapping[str, Any], prefix: str) -> None:
    inner = validation.mapping(value, "json_schema", prefix=prefix)
    if inner is None:
        raise missing(f"{prefix}json_schema")
    json_schema(inner, f"{prefix}json_schema.", is_required=False)


def _truncation(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    if validation.choice(value, "type", choices=("auto", "last_messages"), prefix=f"{name}.") is None:
        raise missing(f"{name}.type")
    last = validation.integer(value, "last_messages", minimum=1, prefix=f"{name}.")
    if value["type"] == "last_messages" and last is None:
        raise missing(f"{name}.last_messages")
    # The strategy "auto" has no such limit, so the run must not show one.
    return {"type": value["type"], "last_messages": last if value["type"] == "last_messages" else None}


_FORMATS: dict[str, Check] = {"text": nothing_more, "json_object": nothing_more, "json_schema": _json_schema}
_function = partial(named, within="function")

# The default of each option, and its check.
# fmt: off
SAMPLING: Options = options.SAMPLING | {
    "reasoning_effort": (None,  partial(validation.choice, choices=EFFORTS)),
    "response_format": ("auto", partial(choice_or_object, choices=("auto",), kinds=_FORMATS)),
}

RUN: Options = SAMPLING | {
    "tool_choice":           ("auto", partial(tool_choice, kinds={"function": _function})),
    "parallel_tool_calls":   (True,   optional_boolean),
    "truncation_strategy":   ({"type": "auto", "last_messages": None}, _truncation),
    "max_completion_tokens": (None,   partial(validation.integer, minimum=256)),
    "max_prompt_tokens":     (None,   without_effect(partial(validation.integer, minimum=256))),
}
# fmt: on


_BOTH = {"instructions", "metadata", "model", "tool_resources", "tools"}

ASSISTANT_NAMES = SAMPLING.keys() | _BOTH | {"description", "name"}
"""The names of all fields of a request for an assistant."""

RUN_NAMES = RUN.keys() | _BOTH | {"additional_instructions", "additional_messages", "assistant_id", "stream", "thread"}
"""The names of all fields of a request for a run."""

_ELSEWHERE = {
    "max_output_tokens": "belongs to responses: send 'max_completion_tokens' with the run",
    "max_tokens": "belongs to other requests: send 'max_completion_tokens' with the run",
    "reasoning": "belongs to responses: send 'reasoning_effort'",
    "text": "belongs to responses: send 'response_format'",
}

RUN_INSTEAD = _ELSEWHERE | {"messages": "belongs to other requests: send 'additional_messages'"}
"""The advice for names that do not belong to a run."""

ASSISTANT_INSTEAD = _ELSEWHERE | dict.fromkeys(
    RUN_NAMES - ASSISTANT_NAMES, "is not an option of an assistant: send it with the run"
)
"""The advice for names that do not belong to an assistant."""


def check_tool_choice(run: Doc) -> None:
    """Refuse a `tool_choice` that the tools of the run cannot satisfy."""
    choice = run["tool_choice"]
    called = [choice["function"]["name"]] if isinstance(choice, dict) else []
    options.check_tool_choice(choice, [tool["function"]["name"] for tool in run["tools"]], called)


def for_model(run: Doc, *, is_first_turn: bool) -> dict[str, Any]:
    """Return the options of a run as fields of a `ModelRequest`."""
    form, choice, tools = run["response_format"], run["tool_choice"], run["tools"]
    # A choice that requires a call is for the first turn only: otherwise the run would never end.
    is_chosen = bool(tools) and choice != "auto" and (is_first_turn or choice == "none")
    return options.for_model(run, tools) | {
        "reasoning_effort": run.get("reasoning_effort"),
        "response_format": form if isinstance(form, dict) and form["type"] != "text" else None,
        "tool_choice": choice if is_chosen else None,
    }
