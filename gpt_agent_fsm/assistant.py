"""An assistant that your own program defines, in the same way for every API."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm.errors import explains_keywords
from gpt_agent_fsm.tools.definition import FunctionTool, ToolDefinition, json_object, text
from gpt_agent_fsm.tools.function import Tool, as_tool
from gpt_agent_fsm.tools.output import Output, as_output

__all__ = ["Assistant", "FunctionTool"]

_OF_FUNCTION = {"type", "name", "description", "parameters", "strict"}
_FIELDS = {"model", "instructions", "tools", "name", "temperature", "top_p", "output"}


def _number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise ValueError(f"Assistant: {attribute.name} must be a number or None, not {value!r}")


def _options(value: Mapping[str, Any]) -> Mapping[str, Any]:
    options = json_object(value, "Assistant: options")
    if taken := sorted(_FIELDS & set(options)):
        raise ValueError(f"Assistant: give {', '.join(taken)} as a field of the assistant, not in options")
    return options


AssistantTool: TypeAlias = ToolDefinition | Tool[..., Any]
"""A tool of an assistant: a description alone, or a function that has a description and answers the calls."""
AnyTool: TypeAlias = AssistantTool | Callable[..., Any] | Mapping[str, Any]
"""The forms in which a program may pass a tool."""


def _tool(value: object) -> AssistantTool:
    """Return the tool for a value.

    The value may be a tool, a function, or the description of a tool in the form of either API.
    """
    if isinstance(value, FunctionTool):
        return value
    if not isinstance(value, Mapping):
        if not callable(value):
            kinds = "a function, a FunctionTool or a mapping"
            raise ValueError(f"Assistant: a tool must be {kinds}, not {type(value).__name__}")
        return as_tool(value)
    definition = json_object(value, "Assistant: a tool")
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


def _definition(tool: AssistantTool) -> ToolDefinition:
    return tool.definition if isinstance(tool, Tool) else tool


def _tools(values: Iterable[AnyTool]) -> tuple[AssistantTool, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"Assistant: tools must be a list of tools, not {type(values).__name__}")
    tools = tuple(_tool(value) for value in values)
    names = [tool.name for tool in map(_definition, tools) if isinstance(tool, FunctionTool)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"Assistant: there are two functions called {twice!r}")
    return tools


@explains_keywords
@attrs.frozen
class Assistant:
    """A model, its instructions, and the tools that it may call.

    `ResponsesBackend` sends the assistant with each request. `AssistantsBackend.publish` stores it on a server that
    keeps assistants. Raises `ValueError` for an invalid field.

    Attributes:
        model: the name of the model on the server.
        instructions: the system prompt.
        tools: a list with any of these: functions, which become tools as with `@tool`; descriptions of functions, as
            `FunctionTool` or in the form of either API; descriptions of tools that the server runs itself.
        name: the name by which `publish` finds the assistant.
        temperature, top_p: the model's sampling parameters; None leaves the choice to the server.
        options: further fields, for example `{"reasoning": {"effort": "low"}}`. `ResponsesBackend` sends them unchanged
            in the requests for this assistant's runs. `AssistantsBackend.publish` sends them unchanged as fields of the
            assistant.
        output: the form of the answers: an attrs class, a dataclass, a `TypedDict` or a JSON schema of the type
            "object"; None for text.
    """

    model: str = attrs.field(validator=text("Assistant", blank=False))
    instructions: str = attrs.field(default="", validator=text("Assistant", blank=True))
    tools: tuple[AssistantTool, ...] = attrs.field(default=(), converter=_tools)
    name: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(text("Assistant", blank=False))
    )
    temperature: float | None = attrs.field(default=None, kw_only=True, validator=_number)
    top_p: float | None = attrs.field(default=None, kw_only=True, validator=_number)
    options: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, converter=_options)
    output: Output | None = attrs.field(default=None, kw_only=True, converter=attrs.converters.optional(as_output))

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """The definitions of the tools, as the model gets them."""
        return tuple(map(_definition, self.tools))

    @property
    def functions(self) -> tuple[Tool[..., Any], ...]:
        """The tools whose calls a function answers."""
        return tuple(tool for tool in self.tools if isinstance(tool, Tool))
