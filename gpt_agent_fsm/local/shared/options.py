"""The options that a client may ask for: each is passed on to the model, has no effect, or is refused by its name.

The options of runs and of responses are in the `options` of their APIs; this module has what both need. A table gives
each option its default, which the object has if the client did not ask, and its check.
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
"""Returns the value of a field of a body, `None` when it is absent or null. Raises `ApiProblem`."""

Options = dict[str, tuple[object, Check]]
"""The default of each option, and its check."""

TOOL_CHOICES = ("none", "auto", "required")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MAX_STOPS = 4


def choice_or_object(
    body: Mapping[str, Any], name: str, *, choices: tuple[str, ...], kinds: Mapping[str, Check]
) -> object:
    """Return a string, or an object whose `type` is among the kinds; each kind has its own check."""
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
    """Check the object that names, describes and has the JSON schema of an answer."""
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
    """Check the JSON schema of a body before its transaction, which remembers the result and need not wait for it."""
    for name, within in (("text", "format"), ("response_format", "json_schema")):
        outer = body.get(name)
        inner = outer.get(within) if isinstance(outer, dict) else None
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if isinstance(schema, dict):
            schema_error(schema)


def tool_choice(body: Mapping[str, Any], name: str, *, kinds: Mapping[str, Check]) -> object:
    """Return which tool must be called, if any. Raises the 501 for a kind of tool that this server does not have."""
    value = body.get(name)
    if isinstance(value, dict) and isinstance(kind := value.get("type"), str) and kind.strip() and kind not in kinds:
        if kind == "allowed_tools":
            raise unsupported(name, "of the type 'allowed_tools' is for responses only: send only these tools")
        raise not_offered(f"A tool of type '{kind[:100]}' is", f"{name}.type")
    return choice_or_object(body, name, choices=TOOL_CHOICES, kinds=kinds)


def nothing_more(_value: Mapping[str, Any], _prefix: str) -> None:
    """An object of this kind has no further fields."""


def named(value: Mapping[str, Any], prefix: str, *, within: str = "") -> None:
    """Check the `name` of the object, or of the object in its field `within`."""
    inner = validation.mapping(value, within, prefix=prefix) if within else value
    if inner is None:
        raise missing(prefix + within)
    validation.required_text(inner, "name", prefix=f"{prefix}{within}." if within else prefix)


def optional_boolean(body: Mapping[str, Any], name: str) -> bool | None:
    """Return an optional boolean; `None` when it is absent or null."""
    return None if body.get(name) is None else validation.boolean(body, name, default=False)


def without_effect(check: Check) -> Check:
    """Return a check after which the object has the default, because the value has no effect."""

    def checked(body: Mapping[str, Any], name: str) -> None:
        check(body, name)

    return checked


def refused(body: Mapping[str, Any], name: str, advice: str = "") -> None:
    """Refuse any value of an option that this server cannot honour; one that asks for nothing is fine."""
    value = body.get(name)
    is_empty = value is None or (value in ([], {}) and name not in _NEVER_NOTHING)
    usual = _NOTHING.get(name)
    # True equals 1 in Python, but not for clients.
    if not is_empty and not (type(value) is type(usual) and value == usual):
        raise unsupported(name, advice)


def unsupported(name: str, advice: str = "") -> Exception:
    """Return the 400 for an option that this server cannot honour; the advice is a clause without its full stop."""
    shown = name[:100]
    reason = advice or "is not supported by this server"
    return bad_request(f"Unsupported parameter: '{shown}' {reason}.", shown, "unsupported_parameter")


def _stop(body: Mapping[str, Any], name: str) -> list[str] | None:
    """Return the texts at which an answer ends."""
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

# The document of neither API has these. An object has them only if the client asked for them.
EXTENSIONS: dict[str, Check] = {
    "frequency_penalty": _penalty,
    "presence_penalty":  _penalty,
    "seed":              partial(validation.integer, minimum=-(2**63), maximum=2**63 - 1),
    "stop":              _stop,
}
# fmt: on


# Values, besides null and empty ones, that ask for nothing more than everybody gets.
_NOTHING: dict[str, object] = {"best_of": 1, "echo": False, "ignore_eos": False, "logprobs": False, "n": 1}

# Where an empty object asks for something: for any JSON object.
_NEVER_NOTHING = frozenset({"guided_json", "json_schema", "response_schema"})


def extensions(body: Mapping[str, Any]) -> Doc:
    """Return those options of the body, without null ones, that the document of neither API has."""
    read = {name: check(body, name) for name, check in EXTENSIONS.items()}
    return {name: value for name, value in read.items() if value is not None}


def chosen(body: Mapping[str, Any], options: Options, defaults: Mapping[str, Any]) -> Doc:
    """Return all these options, each with its default if it is absent or null; `defaults` override the usual ones."""
    read = {name: check(body, name) for name, (_, check) in options.items()}
    return {name: defaults.get(name, options[name][0]) if value is None else value for name, value in read.items()}


def check_names(body: Mapping[str, Any], offered: Collection[str], instead: Mapping[str, str]) -> None:
    """Refuse a name that is not among those offered: it must not seem to be in force.

    `instead` says what to do for names that belong elsewhere.
    """
    for name in sorted(body.keys() - offered - EXTENSIONS.keys()):
        refused(body, name, instead.get(name, ""))


def check_tool_choice(choice: object, tools: list[str], called: Collection[str] = ()) -> None:
    """Refuse a choice that no tool can satisfy; `called` are the functions that the choice names."""
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
    # Its absence means the same as true, and some servers know no such option.
    return sent | {"parallel_tool_calls": False if tools and not doc["parallel_tool_calls"] else None}
