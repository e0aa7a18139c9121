"""An assistant that is defined in your own program, in the same way for every API."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

__all__ = ["Assistant", "FunctionTool", "Tool"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_FUNCTION = {"type", "name", "description", "parameters", "strict"}
_OF_SCHEMA = {"type", "$ref", "anyOf", "oneOf", "allOf"}
_FIELDS = {"model", "instructions", "tools", "name", "temperature", "top_p"}


def _text(owner: str, *, blank: bool) -> Any:  # noqa: ANN401 - the type attrs expects of a validator
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not (blank or value.strip()):
            kind = "a string" if blank else "a string that is not blank"
            raise ValueError(f"{owner}: {attribute.name} must be {kind}, not {value!r}")

    return check


def _json_object(value: object, what: str) -> dict[str, Any]:
    """Return a copy of a mapping if it can be written as JSON; otherwise raise `ValueError`."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, not {type(value).__name__}")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot be written as JSON: {error}") from None
    return copy


def _schema(value: object) -> Mapping[str, Any]:
    schema = _json_object(value, "FunctionTool: parameters")
    if schema and not _OF_SCHEMA & set(schema):
        wrapped = '{"type": "object", "properties": ...}'
        raise ValueError(f"FunctionTool: parameters must be a JSON schema; wrap the properties in {wrapped}")
    return schema


def _is_name(_: object, __: object, value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f'FunctionTool: name must have at most 64 characters, only letters, digits, "_" and "-"; it is {value!r}'
        )


def _is_bool(_: object, __: object, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"FunctionTool: strict must be True or False, not {value!r}")


def _number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise ValueError(f"Assistant: {attribute.name} must be a number or None, not {value!r}")


def _options(value: object) -> Mapping[str, Any]:
    options = _json_object(value, "Assistant: options")
    if taken := sorted(_FIELDS & set(options)):
        raise ValueError(f"Assistant: give {', '.join(taken)} as a field of the assistant, not in options")
    return options


def _no_arguments() -> Mapping[str, Any]:
    return {"type": "object", "properties": {}}


@attrs.frozen
class FunctionTool:
    """A function that the model may call.

    Attributes:
        name: the function's name, as in `ToolCallRequested.name`.
        description: tells the model when and how to use the function.
        parameters: the JSON schema of the function's arguments.
        strict: True makes the model follow the schema exactly, if the server supports that.
    """

    name: str = attrs.field(validator=[_text("FunctionTool", blank=False), _is_name])
    description: str = attrs.field(default="", validator=_text("FunctionTool", blank=True))
    parameters: Mapping[str, Any] = attrs.field(factory=_no_arguments, converter=_schema)
    strict: bool = attrs.field(default=False, validator=_is_bool)


Tool: TypeAlias = FunctionTool | Mapping[str, Any]
"""A function, or the definition of a tool that the server runs itself, such as `{"type": "web_search"}`."""


def _tool(value: object) -> Tool:
    """Return a tool; a function may be given in the form of either API."""
    if isinstance(value, FunctionTool):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"Assistant: a tool must be a FunctionTool or a mapping, not {type(value).__name__}")
    definition = _json_object(value, "Assistant: a tool")
    if definition.get("type") != "function":
        if not isinstance(definition.get("type"), str):
            raise ValueError('Assistant: a tool must be a FunctionTool or a mapping with a "type"')
        return definition
    function = definition.get("function", definition)
    if not isinstance(function, Mapping):
        raise ValueError('Assistant: the "function" of a tool must be a mapping')
    if unknown := sorted(set(function) - _OF_FUNCTION):
        raise ValueError(f"Assistant: a function has only name, description, parameters and strict, not {unknown[0]!r}")
    given = {name: function[name] for name in ("description", "parameters", "strict") if function.get(name) is not None}
    return FunctionTool(function.get("name", ""), **given)


def _tools(values: object) -> tuple[Tool, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"Assistant: tools must be a list of tools, not {type(values).__name__}")
    tools = tuple(_tool(value) for value in values)
    names = [tool.name for tool in tools if isinstance(tool, FunctionTool)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"Assistant: there are two functions called {twice!r}")
    return tools


@attrs.frozen
class Assistant:
    """A model, its instructions, and the tools it may call.

    `ResponsesBackend` sends it with each request; `AssistantsBackend.publish` stores it on a server that keeps
    assistants. Raises `ValueError` for an invalid field.

    Attributes:
        model: the name of the model on the server.
        instructions: the system prompt.
        tools: functions, as `FunctionTool` or in the form of either API, and tools that the server runs itself.
        name: the name by which `publish` finds the assistant.
        temperature, top_p: how the model samples; None leaves the choice to the server.
        options: further fields of the request that creates a run (or of the assistant, for `publish`), sent unchanged,
            for example `{"reasoning": {"effort": "low"}}`.
    """

    model: str = attrs.field(validator=_text("Assistant", blank=False))
    instructions: str = attrs.field(default="", validator=_text("Assistant", blank=True))
    tools: tuple[Tool, ...] = attrs.field(default=(), converter=_tools)
    name: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_text("Assistant", blank=False))
    )
    temperature: float | None = attrs.field(default=None, kw_only=True, validator=_number)
    top_p: float | None = attrs.field(default=None, kw_only=True, validator=_number)
    options: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, converter=_options)
