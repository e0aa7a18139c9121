"""The description of a function for the model: its name, its text, and the JSON schema of its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm.errors import explains_keywords

__all__ = ["FunctionTool", "ToolDefinition", "json_object", "text"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_SCHEMA = {"type", "$ref", "anyOf", "oneOf", "allOf"}


def text(owner: str, *, blank: bool) -> Any:  # noqa: ANN401 - the type attrs expects of a validator
    """Return a validator that accepts strings. It accepts a blank string only if `blank` is True."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not (blank or value.strip()):
            kind = "a string" if blank else "a string that is not blank"
            raise ValueError(f"{owner}: {attribute.name} must be {kind}, not {value!r}")

    return check


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a copy of a mapping. Raise `ValueError` if the mapping cannot be written as JSON."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, not {type(value).__name__}")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot be written as JSON: {error}") from None
    return copy


def _schema(value: object) -> Mapping[str, Any]:
    schema = json_object(value, "FunctionTool: parameters")
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


def _no_arguments() -> Mapping[str, Any]:
    return {"type": "object", "properties": {}}


@explains_keywords
@attrs.frozen
class FunctionTool:
    """A function that the model may call.

    Attributes:
        name: the function's name, as in `ToolCallRequested.name`.
        description: a text that tells the model when and how to use the function.
        parameters: the JSON schema of the function's arguments.
        strict: True makes the model follow the schema exactly, if the server supports this.
    """

    name: str = attrs.field(validator=[text("FunctionTool", blank=False), _is_name])
    description: str = attrs.field(default="", validator=text("FunctionTool", blank=True))
    parameters: Mapping[str, Any] = attrs.field(factory=_no_arguments, converter=_schema)
    strict: bool = attrs.field(default=False, validator=_is_bool)


ToolDefinition: TypeAlias = FunctionTool | Mapping[str, Any]
"""A function, or the definition of a tool that the server runs itself, such as `{"type": "web_search"}`."""
