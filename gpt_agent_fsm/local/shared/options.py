"""Options that have no effect here: they are checked, and returned as they were sent.

The options of runs and of responses are in the `options` of their APIs; the checks that both need are here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gpt_agent_fsm.local.http.error_responses import missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc

Check = Callable[[Mapping[str, Any], str], object]
"""Returns the value of a field of a body, `None` when it is absent or null. Raises `ApiProblem`."""

Options = dict[str, tuple[object, Check]]
"""The default of each option, and its check."""

TOOL_CHOICES = ("none", "auto", "required")


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
        if name == "tool_choice":
            raise not_offered(f"A tool of type '{kind[:100]}' is", f"{name}.type")
        raise wrong_value(f"{name}.type", kind, ", ".join(f"'{each}'" for each in kinds))
    kinds[kind](value, f"{name}.")
    return value


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


def chosen(body: Mapping[str, Any], options: Options, defaults: Mapping[str, Any]) -> Doc:
    """Return all these options, each with its default if it is absent or null; `defaults` override the usual ones."""
    read = {name: check(body, name) for name, (_, check) in options.items()}
    return {name: defaults.get(name, options[name][0]) if value is None else value for name, value in read.items()}
