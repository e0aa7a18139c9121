"""Makes JSON schemas short. Simple schemas are merged, and only a class that is used twice gets a definition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

__all__ = ["Definitions", "Schema", "any_of", "strict_keywords"]

Schema: TypeAlias = dict[str, Any]

_REFERENCE = "#/$defs/"
_NULL = {"type": "null"}
_STRICT_KEYWORDS = {
    *("type", "enum", "title", "description", "pattern", "format", "items", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_STRICT_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def strict_keywords(schema: Schema) -> Schema:
    """Return a schema without the keywords that OpenAI's strict form refuses.

    The library itself checks the removed keywords in each call.
    """
    return {
        name: value
        for name, value in schema.items()
        if name in _STRICT_KEYWORDS and (name != "format" or value in _STRICT_FORMATS)
    }


def any_of(options: Sequence[Schema]) -> Schema:
    """Return a schema that allows each value that an option allows. Simple types become one list of types."""
    unique = [option for index, option in enumerate(options) if option not in options[:index]]
    types = [option.get("type") for option in unique]
    plain = [{"type": kind} for kind in types if isinstance(kind, str)]
    if {"type": "number"} in unique:  # an integer is a number, too
        unique = [option for option in unique if option != {"type": "integer"}]
    limited = [option for option in unique if option not in plain]
    if len(unique) == 1:
        return unique[0]
    if len(plain) < len(types) or len(limited) > 1 or not _may_merge(limited, unique):
        return {"anyOf": unique}
    enum = {"enum": [*limited[0]["enum"], None]} if limited and "enum" in limited[0] else {}
    return {**(limited[0] if limited else {}), **enum, "type": [option["type"] for option in unique]}


def _may_merge(limited: list[Schema], unique: list[Schema]) -> bool:
    """Return True if the options of a union may be merged: no limit of one option would restrict another option."""
    if not limited:
        return True
    others = [option for option in unique if option != limited[0]]
    if {"type": limited[0]["type"]} in others:
        return False
    if limited[0]["type"] == "object" or "enum" in limited[0]:
        return others == [_NULL] and "enum" in limited[0]
    return others == [_NULL] or limited[0]["type"] not in ("integer", "number")


@attrs.define
class Definitions:
    """The classes in a schema. A class that is used only once gets no definition: its schema replaces the reference."""

    _names: dict[object, str] = attrs.field(factory=dict, init=False)
    _bodies: dict[str, Schema] = attrs.field(factory=dict, init=False)

    def refer(self, cls: object, name: str, body: Callable[[Definitions], Schema]) -> Schema:
        """Return a reference to the schema of a class.

        When the class is used for the first time, `body` makes the schema.
        """
        if cls not in self._names:
            self._names[cls] = free = self._free(re.sub(r"[^A-Za-z0-9_-]", "_", name))
            self._bodies[free] = {}  # a class may contain itself
            self._bodies[free] = body(self)
        return {"$ref": _REFERENCE + self._names[cls]}

    def document(self, root: Schema) -> Schema:
        """Return a schema with the definitions that it needs."""
        found = [name for schema in (root, *self._bodies.values()) for name in _references(schema)]
        once = {name: body for name, body in self._bodies.items() if found.count(name) == 1}
        shared = {name: _written(body, once) for name, body in self._bodies.items() if name not in once}
        return {**_written(root, once), **({"$defs": shared} if shared else {})}

    def _free(self, name: str) -> str:
        numbered = (f"{name}{number}" for number in range(2, len(self._bodies) + 3))
        return next(each for each in (name, *numbered) if each not in self._bodies)


def _target(schema: Mapping[str, Any]) -> str | None:
    reference = schema.get("$ref")
    return reference.removeprefix(_REFERENCE) if isinstance(reference, str) else None


def _references(node: object) -> Iterator[str]:
    """Yield the name of each reference in a schema."""
    if isinstance(node, Mapping):
        if (name := _target(node)) is not None:
            yield name
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _written(node: Any, once: Mapping[str, Schema]) -> Any:  # noqa: ANN401 - any part of a schema
    """Return the schema with the classes in `once` written out, in place of the references to them."""
    if isinstance(node, list):
        return [_written(value, once) for value in node]
    if not isinstance(node, Mapping):
        return node
    name = _target(node)
    if name is not None and name in once:
        return {**_written(once[name], once), **{key: value for key, value in node.items() if key != "$ref"}}
    if name is not None and len(node) > 1:  # the strict form allows no other keyword beside a reference
        return {**{key: value for key, value in node.items() if key != "$ref"}, "anyOf": [{"$ref": node["$ref"]}]}
    return {key: _written(value, once) for key, value in node.items()}
