"""The options that a client may send. Each option is passed to the model, is accepted without effect, or is refused.

The modules `assistants.options` and `responses.options` define the options of runs and of responses. This module
contains what both need. The tables of options give each option a check, and a default for clients that do not send it.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import (
    bad_request,
    missing,
    not_offered,
    wrong_type,
    wrong_value,
)
from gpt_agent_fsm.local.models.structured import schema_error
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc

Check = Callable[[Mapping[str, Any], str], object]
"""Returns the checked value of a field of a body, or `None` if the field is absent or null. Raises `ApiProblem`."""

Options = dict[str, tuple[object, Check]]
"""The default and the check of each option, by the option's name."""

TOOL_CHOICES = ("none", "auto", "required")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MAX_STOPS = 4


def choice_or_object(
    body: Mapping[str, Any], name: str, *, choices: tuple[str, ...], kinds: Mapping[str, Check]
) -> object:
    """Return a string that is among the choices, or an object whose `type` is a key of `kinds`.

    `kinds` maps each type to the function that checks the other fields of the object.
    """
    value = body.get(name)
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a string or an object", value)
        return validation.choice(body, name, choices=choices)
    kind = validation.required_text(value, "type", prefix=f"{name}.")
    if kind not in kinds:
        raise wrong_value(f"{name}.type", kind, ", ".join(f"'{each}'" for each in kinds))
    kinds[kind](value, f"{name}.")
    return value


def json_schema(value: Mapping[str, Any], prefix: str, *, is_required: bool) -> None:
    """Check an object that contains the JSON schema for an answer, and the schema's name and description."""
    validation.required_text(value, "name", prefix=prefix)
    validation.text(value, "description", prefix=prefix)
    validation.boolean(value, "strict", default=False, prefix=prefix)
    schema = validation.mapping(value, "schema", prefix=prefix)
    if schema is None:
        if is_required:
            raise missing(f"{prefix}schema")
    elif reason := schema_error(schema):
        raise bad_request(f"Invalid schema for '{prefix}schema': {reason}.", f"{prefix}schema", "invalid_json_schema")


def check_schema_early(body: Mapping[str, Any]) -> None:
    """Check the JSON schema in a body before the transaction begins.

    The check may be slow, but a transaction must be fast. `schema_error` remembers the result, so the same check within
    the transaction is fast.
    """
    for name, within in (("text", "format"), ("response_format", "json_schema")):
        outer = body.get(name)
        inner = outer.get(within) if isinstance(outer, dict) else None
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if isinstance(schema, dict):
            schema_error(schema)


def tool_choice(body: Mapping[str, Any], name: str, *, kinds: Mapping[str, Check]) -> object:
    """Return the client's choice of a tool, or None. Raises the 501 for a type of tool that this server lacks."""
    value = body.get(name)
    if isinstance(value, dict) and isinstance(kind := value.get("type"), str) and kind.strip() and kind not in kinds:
        if kind == "allowed_tools":
            raise unsupported(name, "of the type 'allowed_tools' is for responses only: send only these tools")
        raise not_offered(f"A tool of type '{kind[:100]}' is", f"{name}.type")
    return choice_or_object(body, name, choices=TOOL_CHOICES, kinds=kinds)


def nothing_more(_value: Mapping[str, Any], _prefix: str) -> None:
    """Accept every object, because an object of this kind has no further fields to check."""


def named(value: Mapping[str, Any], prefix: str, *, within: str = "") -> None:
    """Check the `name` of an object. If `within` is given, check the object in the field `within` instead."""
    inner = validation.mapping(value, within, prefix=prefix) if within else value
    if inner is None:
        raise missing(prefix + within)
    validation.required_text(inner, "name", prefix=f"{prefix}{within}." if within else prefix)


def optional_boolean(body: Mapping[str, Any], name: str) -> bool | None:
    """Return an optional boolean. Return None if it is absent or null."""
    return None if body.get(name) is None else validation.boolean(body, name, default=False)


def without_effect(check: Check) -> Check:
    """Return a check for an option that has no effect here.

    The returned check refuses the values that `check` refuses. For every other value, the default is stored.
    """

    def checked(body: Mapping[str, Any], name: str) -> None:
        check(body, name)

    return checked


def refused(body: Mapping[str, Any], name: str, advice: str = "") -> None:
    """Refuse an option that this server does not support.

    A value that asks for nothing, such as null or `n: 1`, is accepted.
    """
    value = body.get(name)
    is_empty = value is None or (value in ([], {}) and name not in _NEVER_NOTHING)
    usual = _NOTHING.get(name)
    # True equals 1 in Python, but not for clients.
    if not is_empty and not (type(value) is type(usual) and value == usual):
        raise unsupported(name, advice)


def unsupported(name: str, advice: str = "") -> Exception:
    """Return the 400 for an option that this server does not support.

    `advice` is the end of the error sentence after the option's name, without the full stop.
    """
    shown = name[:100]
    reason = advice or "is not supported by this server"
    return bad_request(f"Unsupported parameter: '{shown}' {reason}.", shown, "unsupported_parameter")


def _stop(body: Mapping[str, Any], name: str) -> list[str] | None:
    """Return the texts at which the model must stop. Return None if there are none."""
    value = body.get(name)
    texts = [value] if isinstance(value, str) else value
    if texts is None or texts == []:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise wrong_type(name, "a string or an array of strings that are not empty", value)
    if len(texts) > _MAX_STOPS:
        raise bad_request(
            f"Invalid '{name}': at most {_MAX_STOPS} strings are allowed.", name, "array_above_max_length"
        )
    return texts


_penalty = partial(validation.number, minimum=-2, maximum=2)

# fmt: off
SAMPLING: Options = {
    "temperature": (None, partial(validation.number, minimum=0, maximum=2)),
    "top_p":       (None, partial(validation.number, minimum=0, maximum=1)),
}

# The specification of neither API has these options. A stored object has them only if the client sent them.
EXTENSIONS: dict[str, Check] = {
    "frequency_penalty": _penalty,
    "presence_penalty":  _penalty,
    "seed":              partial(validation.integer, minimum=-(2**63), maximum=2**63 - 1),
    "stop":              _stop,
}
# fmt: on


# Values that ask only for the usual behaviour of the server. Null and most empty values ask for nothing, too.
_NOTHING: dict[str, object] = {"best_of": 1, "echo": False, "ignore_eos": False, "logprobs": False, "n": 1}

# Options whose empty value does ask for something: an answer that is any JSON object.
_NEVER_NOTHING = frozenset({"guided_json", "json_schema", "response_schema"})


def extensions(body: Mapping[str, Any]) -> Doc:
    """Return the options of the body that are among the `EXTENSIONS`, without null values."""
    read = {name: check(body, name) for name, check in EXTENSIONS.items()}
    return {name: value for name, value in read.items() if value is not None}


def chosen(body: Mapping[str, Any], options: Options, defaults: Mapping[str, Any]) -> Doc:
    """Return the values of all these options. An option that is absent or null gets its default.

    A value in `defaults` replaces the default of the table `options`.
    """
    read = {name: check(body, name) for name, (_, check) in options.items()}
    return {name: defaults.get(name, options[name][0]) if value is None else value for name, value in read.items()}


def check_names(body: Mapping[str, Any], offered: Collection[str], instead: Mapping[str, str]) -> None:
    """Refuse each field whose name is not in `offered`. Otherwise clients would believe that the field has an effect.

    `instead` contains advice for names that belong to other requests or APIs.
    """
    for name in sorted(body.keys() - offered - EXTENSIONS.keys()):
        refused(body, name, instead.get(name, ""))


def check_tool_choice(choice: object, tools: list[str], called: Collection[str] = ()) -> None:
    """Refuse a `tool_choice` that the available `tools` cannot satisfy.

    `called` are the functions that the choice names.
    """
    if choice in (None, "none", "auto"):
        return
    if not tools:
        message = "Invalid value for 'tool_choice': it needs tools, but no tools are specified."
        raise bad_request(message, "tool_choice", "invalid_value")
    for name in called:
        if name not in tools:
            message = f"Invalid value for 'tool_choice': the function '{name[:100]}' is not among the tools."
            raise bad_request(message, "tool_choice", "invalid_value")


def for_model(doc: Doc, tools: list[Doc]) -> dict[str, Any]:
    """Return the options of a run or response that have the same name and value in a `ModelRequest`."""
    sent = {name: doc.get(name) for name in (*SAMPLING, *EXTENSIONS)}
    # An absent `parallel_tool_calls` means true. So true is left out, because some servers do not know the option.
    return sent | {"parallel_tool_calls": False if tools and not doc["parallel_tool_calls"] else None}
