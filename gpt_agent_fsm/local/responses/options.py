"""The options of responses that have no effect here: they are checked, and returned as they were sent."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing, wrong_value
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.options import (
    TOOL_CHOICES,
    Options,
    choice_or_object,
    named,
    nothing_more,
    optional_boolean,
)
from gpt_agent_fsm.local.shared.storage import Doc


def _schema(value: Mapping[str, Any], prefix: str) -> None:
    named(value, prefix)
    if validation.mapping(value, "schema", prefix=prefix) is None:
        raise missing(f"{prefix}schema")
    validation.boolean(value, "strict", default=False, prefix=prefix)


def _allowed_tools(value: Mapping[str, Any], prefix: str) -> None:
    if validation.choice(value, "mode", choices=("auto", "required"), prefix=prefix) is None:
        raise missing(f"{prefix}mode")
    if validation.objects(value, "tools", prefix=prefix) is None:
        raise missing(f"{prefix}tools")


def _reasoning(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    efforts = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    summaries = ("auto", "concise", "detailed")
    effort = validation.choice(value, "effort", choices=efforts, prefix=f"{name}.")
    return {"effort": effort, "summary": validation.choice(value, "summary", choices=summaries, prefix=f"{name}.")}


def _text(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    kinds = {"text": nothing_more, "json_object": nothing_more, "json_schema": _schema}
    form = validation.mapping(value, "format", prefix=f"{name}.")
    if form is not None:
        kind = validation.required_text(form, "type", prefix=f"{name}.format.")
        if kind not in kinds:
            raise wrong_value(f"{name}.format.type", kind, ", ".join(f"'{each}'" for each in kinds))
        kinds[kind](form, f"{name}.format.")
    verbosity = validation.choice(value, "verbosity", choices=("low", "medium", "high"), prefix=f"{name}.")
    return {"format": form or {"type": "text"}, "verbosity": verbosity or "medium"}


_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")

# The default of each option, and its check.
# fmt: off
RESPONSE: Options = {
    "max_tool_calls":      (None,       partial(validation.integer, minimum=1)),
    "parallel_tool_calls": (True,       optional_boolean),
    "prompt_cache_key":    (None,       validation.text),
    "reasoning":           ({"effort": None, "summary": None}, _reasoning),
    "safety_identifier":   (None,       partial(validation.text, longest=64)),
    "service_tier":        ("auto",     partial(validation.choice, choices=_TIERS)),
    "temperature":         (1.0,        partial(validation.number, minimum=0, maximum=2)),
    "text":                ({"format": {"type": "text"}, "verbosity": "medium"}, _text),
    "tool_choice":         ("auto",     partial(choice_or_object, choices=TOOL_CHOICES, kinds={
                                            "function": named, "allowed_tools": _allowed_tools})),
    "top_logprobs":        (0,          partial(validation.integer, minimum=0, maximum=20)),
    "top_p":               (1.0,        partial(validation.number, minimum=0, maximum=1)),
    "truncation":          ("disabled", partial(validation.choice, choices=("auto", "disabled"))),
    "user":                (None,       validation.text),
}
# fmt: on
