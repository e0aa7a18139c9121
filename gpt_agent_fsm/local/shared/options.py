"""The options of assistants, runs and responses that change nothing here: checked, and answered as they were sent."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc

Check = Callable[[Mapping[str, Any], str], object]
"""Returns the value of a field of a body, `None` when it is absent or null. Raises `ApiProblem`."""


def _choice(body: Mapping[str, Any], name: str, *, words: tuple[str, ...], kinds: Mapping[str, Check]) -> object:
    """Return a word, or an object whose `type` is among the kinds; each of these is checked in its own way."""
    value = body.get(name)
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a string or an object", value)
        return validation.word(body, name, words=words)
    kind = validation.required_text(value, "type", prefix=f"{name}.")
    if kind not in kinds:
        if name == "tool_choice":
            raise not_offered(f"A tool of type '{kind[:100]}' is", f"{name}.type")
        raise wrong_value(f"{name}.type", kind, ", ".join(f"'{each}'" for each in kinds))
    kinds[kind](value, f"{name}.")
    return value


def _nothing(_value: Mapping[str, Any], _prefix: str) -> None:
    """There is nothing more in an object of this kind."""


def _named(value: Mapping[str, Any], prefix: str, *, within: str = "") -> None:
    """Check the `name`, of the object itself or of the one `within` it."""
    inner = validation.mapping(value, within, prefix=prefix) if within else value
    if inner is None:
        raise missing(prefix + within)
    validation.required_text(inner, "name", prefix=f"{prefix}{within}." if within else prefix)


def _schema(value: Mapping[str, Any], prefix: str) -> None:
    _named(value, prefix)
    if validation.mapping(value, "schema", prefix=prefix) is None:
        raise missing(f"{prefix}schema")
    validation.flag(value, "strict", default=False, prefix=prefix)


def _json_schema(value: Mapping[str, Any], prefix: str) -> None:
    _named(value, prefix, within="json_schema")
    validation.mapping(value["json_schema"], "schema", prefix=f"{prefix}json_schema.")
    validation.flag(value["json_schema"], "strict", default=False, prefix=f"{prefix}json_schema.")


def _allowed_tools(value: Mapping[str, Any], prefix: str) -> None:
    if validation.word(value, "mode", words=("auto", "required"), prefix=prefix) is None:
        raise missing(f"{prefix}mode")
    if validation.objects(value, "tools", prefix=prefix) is None:
        raise missing(f"{prefix}tools")


def _truncation(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    if validation.word(value, "type", words=("auto", "last_messages"), prefix=f"{name}.") is None:
        raise missing(f"{name}.type")
    last = validation.integer(value, "last_messages", least=1, prefix=f"{name}.")
    return {"type": value["type"], "last_messages": last}


def _reasoning(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    efforts = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    summaries = ("auto", "concise", "detailed")
    effort = validation.word(value, "effort", words=efforts, prefix=f"{name}.")
    return {"effort": effort, "summary": validation.word(value, "summary", words=summaries, prefix=f"{name}.")}


def _text(body: Mapping[str, Any], name: str) -> Doc | None:
    value = validation.mapping(body, name)
    if value is None:
        return None
    kinds = {"text": _nothing, "json_object": _nothing, "json_schema": _schema}
    form = validation.mapping(value, "format", prefix=f"{name}.")
    if form is not None:
        kind = validation.required_text(form, "type", prefix=f"{name}.format.")
        if kind not in kinds:
            raise wrong_value(f"{name}.format.type", kind, ", ".join(f"'{each}'" for each in kinds))
        kinds[kind](form, f"{name}.format.")
    verbosity = validation.word(value, "verbosity", words=("low", "medium", "high"), prefix=f"{name}.")
    return {"format": form or {"type": "text"}, "verbosity": verbosity or "medium"}


def _boolean(body: Mapping[str, Any], name: str) -> bool | None:
    return None if body.get(name) is None else validation.flag(body, name, default=False)


_FORMATS: dict[str, Check] = {"text": _nothing, "json_object": _nothing, "json_schema": _json_schema}
_CHOICES = ("none", "auto", "required")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_function = partial(_named, within="function")

# The default of each option, and how it is checked.
# fmt: off
SAMPLING: dict[str, tuple[object, Check]] = {
    "temperature":     (1.0,    partial(validation.number, least=0, most=2)),
    "top_p":           (1.0,    partial(validation.number, least=0, most=1)),
    "response_format": ("auto", partial(_choice, words=("auto",), kinds=_FORMATS)),
}

RUN: dict[str, tuple[object, Check]] = SAMPLING | {
    "tool_choice":           ("auto", partial(_choice, words=_CHOICES, kinds={"function": _function})),
    "parallel_tool_calls":   (True,   _boolean),
    "truncation_strategy":   ({"type": "auto", "last_messages": None}, _truncation),
    "max_completion_tokens": (None,   partial(validation.integer, least=256)),
    "max_prompt_tokens":     (None,   partial(validation.integer, least=256)),
}

RESPONSE: dict[str, tuple[object, Check]] = {
    "max_tool_calls":      (None,       partial(validation.integer, least=1)),
    "parallel_tool_calls": (True,       _boolean),
    "prompt_cache_key":    (None,       validation.text),
    "reasoning":           ({"effort": None, "summary": None}, _reasoning),
    "safety_identifier":   (None,       partial(validation.text, longest=64)),
    "service_tier":        ("auto",     partial(validation.word, words=_TIERS)),
    "temperature":         (1.0,        partial(validation.number, least=0, most=2)),
    "text":                ({"format": {"type": "text"}, "verbosity": "medium"}, _text),
    "tool_choice":         ("auto",     partial(_choice, words=_CHOICES, kinds={
                                            "function": _named, "allowed_tools": _allowed_tools})),
    "top_logprobs":        (0,          partial(validation.integer, least=0, most=20)),
    "top_p":               (1.0,        partial(validation.number, least=0, most=1)),
    "truncation":          ("disabled", partial(validation.word, words=("auto", "disabled"))),
    "user":                (None,       validation.text),
}
# fmt: on


def chosen(body: Mapping[str, Any], options: Mapping[str, tuple[object, Check]], defaults: Mapping[str, Any]) -> Doc:
    """Return all these options, each with its default when it is absent or null; `defaults` come before those here."""
    read = {name: check(body, name) for name, (_, check) in options.items()}
    return {name: defaults.get(name, options[name][0]) if value is None else value for name, value in read.items()}
