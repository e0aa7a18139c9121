"""The options of assistants and runs that have no effect here: they are checked, and returned as they were sent."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.options import (
    TOOL_CHOICES,
    Check,
    Options,
    choice_or_object,
    named,
    nothing_more,
    optional_boolean,
)
from gpt_agent_fsm.local.shared.storage import Doc


def _json_schema(value: Mapping[str, Any], prefix: str) -> None:
    named(value, prefix, within="json_schema")
    validation.mapping(value["json_schema"], "schema", prefix=f"{prefix}json_schema.")
    validation.boolean(value["json_schema"], "strict", default=False, prefix=f"{prefix}json_schema.")


def _truncation(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    if validation.choice(value, "type", choices=("auto", "last_messages"), prefix=f"{name}.") is None:
        raise missing(f"{name}.type")
    last = validation.integer(value, "last_messages", minimum=1, prefix=f"{name}.")
    return {"type": value["type"], "last_messages": last}


_FORMATS: dict[str, Check] = {"text": nothing_more, "json_object": nothing_more, "json_schema": _json_schema}
_function = partial(named, within="function")

# The default of each option, and its check.
# fmt: off
SAMPLING: Options = {
    "temperature":     (1.0,    partial(validation.number, minimum=0, maximum=2)),
    "top_p":           (1.0,    partial(validation.number, minimum=0, maximum=1)),
    "response_format": ("auto", partial(choice_or_object, choices=("auto",), kinds=_FORMATS)),
}

RUN: Options = SAMPLING | {
    "tool_choice":           ("auto", partial(choice_or_object, choices=TOOL_CHOICES, kinds={"function": _function})),
    "parallel_tool_calls":   (True,   optional_boolean),
    "truncation_strategy":   ({"type": "auto", "last_messages": None}, _truncation),
    "max_completion_tokens": (None,   partial(validation.integer, minimum=256)),
    "max_prompt_tokens":     (None,   partial(validation.integer, minimum=256)),
}
# fmt: on
