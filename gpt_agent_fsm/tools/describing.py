"""Turns the annotations of functions and classes into shapes. A shape has a JSON schema, and checks values.

msgspec describes and converts scalars. It cannot describe a union of classes, and for most classes it accepts unknown
properties. So containers, unions and classes have shapes of their own.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import math
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import msgspec

from gpt_agent_fsm.tools.docstrings import class_documentation
from gpt_agent_fsm.tools.fields import ClassField, NotDescribable, fields_of, is_class_with_fields
from gpt_agent_fsm.tools.objects import Field, Object
from gpt_agent_fsm.tools.outputs import output_text
from gpt_agent_fsm.tools.schemas import Schema, strict_keywords
from gpt_agent_fsm.tools.shapes import (
    Anything,
    Array,
    Choice,
    FixedArray,
    Mismatch,
    Noted,
    Scalar,
    Shape,
    StringMap,
    Union,
)

__all__ = ["Describer"]

_SCALARS = (
    *(str, int, float, bool, bytes),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID),
)
_FORMATS = {datetime.datetime: "date-time", datetime.time: "time"}
"""The formats that msgspec names only if a time zone is required."""
_LISTS = (
    *(list, collections.abc.Sequence, collections.abc.MutableSequence),
    *(collections.abc.Collection, collections.abc.Iterable),
)
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_CONTAINERS: Mapping[Any, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(_LISTS, list),
    **dict.fromkeys(_SETS, set),
    frozenset: frozenset,
    tuple: tuple,
}
_DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
_NOTES = ("title", "description", "examples")
_LIMITS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length", "tz")


class Describer:
    """Turns annotations into shapes. A shape has a JSON schema, and checks values.

    Args:
        strict: True for OpenAI's strict form of a schema.
        namespace: local names that the annotations of classes may use.
    """

    def __init__(self, *, strict: bool, namespace: Mapping[str, Any]) -> None:
        self._strict = strict
        self._namespace = namespace
        self._classes: dict[Any, Object] = {}

    def shape(self, hint: Any) -> Shape:  # noqa: ANN401 - any annotation
        """Return the shape of an annotation. All names in the annotation must be resolved.

        Raise `NotDescribable` if the annotation has no shape.
        """
        base, notes, limits = _unwrapped(hint)
        return self._noted(self._bare(base, limits), notes)

    def field(self, found: ClassField, description: str) -> Field:
        """Return the object property for a field or parameter, with the description and the default."""
        shape = self.shape(found.hint)
        is_described = "description" in _unwrapped(found.hint)[1]
        notes: dict[str, Any] = {"description": description} if description and not is_described else {}
        # The strict form has no defaults, because the model leaves nothing out. A default of null is not worth a
        # keyword.
        if not found.required and not self._strict and (default := _default_of(found, shape)) is not None:
            notes["default"] = default
        return Field(found.name, found.argument, shape, found.required, notes)

    # --- kinds ----------------------------------------------------------------------------------------

    def _bare(self, base: Any, limits: Schema) -> Shape:  # noqa: ANN401
        if not isinstance(base, collections.abc.Hashable):
            raise NotDescribable(f"{base!r} is not a type")
        origin = typing.get_origin(base) or base
        if origin in (typing.Union, types.UnionType):
            return self._union(typing.get_args(base), limits)
        if base is None or base is type(None) or origin in _SCALARS:
            return self._scalar(base, limits)
        if origin in _CONTAINERS:
            return self._array(origin, typing.get_args(base), limits)
        if origin in _MAPS:
            return self._map(typing.get_args(base), limits)
        if limits:
            raise NotDescribable(f"{_name(base)} cannot have the limit {next(iter(limits))}")
        return self._unlimited(base, origin)

    def _unlimited(self, base: Any, origin: Any) -> Shape:  # noqa: ANN401
        if base is Any or base is object:
            return self._open(Anything(), "any value")
        if base is decimal.Decimal:
            return attrs.evolve(self._scalar(str, {"pattern": _DECIMAL}), make=decimal.Decimal)
        if origin is typing.Literal:
            return _choice((getattr(value, "value", value), value) for value in typing.get_args(base))
        if isinstance(base, type) and issubclass(base, enum.Enum):
            shape = _choice((member.value, member) for member in base)
            text = class_documentation(base).text
            return self._noted(shape, {"description": text} if text else {})
        if isinstance(base, type) and is_class_with_fields(base):
            return self._class(base)
        raise NotDescribable(f"{_name(base)} cannot be described to a model")

    def _scalar(self, base: Any, limits: Schema) -> Scalar:  # noqa: ANN401
        kind = typing.Annotated[base, msgspec.Meta(**limits)] if limits else base
        try:
            schema = msgspec.json.schema(kind)
        except (TypeError, ValueError) as error:
            raise NotDescribable(f"{_name(base)} cannot have these limits: {error}") from None
        if schema.get("format") == "partial-time":  # JSON schema has no such format
            del schema["format"]
        elif base in _FORMATS and limits.get("tz") is not False:
            schema["format"] = _FORMATS[base]
        return Scalar(kind, strict_keywords(schema) if self._strict else schema)

    def _union(self, hints: tuple[Any, ...], limits: Schema) -> Union:
        """Return the shape of a union of these annotations.

        As in msgspec, a limit such as a maximum applies to those options that can have it.
        """
        options, used = list[Shape](), set[str]()
        for hint in hints:
            base, notes, own = _unwrapped(hint)
            fitting = {name: limit for name, limit in limits.items() if self._takes(base, {name: limit})}
            used |= set(fitting)
            options.append(self._noted(self._bare(base, {**fitting, **own}), notes))
        if unused := sorted(set(limits) - used):
            raise NotDescribable(f"no part of the union can have the limit {unused[0]}")
        return Union(tuple(options))

    def _takes(self, base: Any, limit: Schema) -> bool:  # noqa: ANN401
        try:
            self._bare(base, limit)
        except NotDescribable:
            return False
        return True

    def _array(self, origin: Any, hints: tuple[Any, ...], limits: Schema) -> Shape:  # noqa: ANN401
        if origin is tuple and hints[-1:] != (...,) and (hints or limits):
            if limits:
                raise NotDescribable(f"a tuple of {len(hints)} cannot have the limit {next(iter(limits))}")
            fixed = FixedArray(tuple(map(self.shape, hints)))
            alike = len(set(hints)) == 1
            return fixed if alike else self._open(fixed, "a tuple of different types")
        make = _CONTAINERS[origin]
        whole = self._scalar(list, limits)
        item = self.shape(hints[0]) if hints else self.shape(Any)
        if make in (list, tuple):
            return Array(whole, item, make)
        if not _is_hashable(item):
            raise NotDescribable(f"a set cannot contain {item.words}")
        own = {} if self._strict else {"uniqueItems": True}
        return Array(Scalar(whole.base, {**whole.own, **own}), item, make, unique=True)

    def _map(self, hints: tuple[Any, ...], limits: Schema) -> Shape:
        key, value = hints or (str, Any)
        names = self.shape(key)
        inner = names.shape if isinstance(names, Noted) else names
        is_text = isinstance(inner, Choice) and all(isinstance(value, str) for value, _ in inner.values)
        if not is_text and not (isinstance(inner, Scalar) and inner.own["type"] == "string"):
            raise NotDescribable(f"the keys of a dict must be strings, not {_name(key)}")
        return self._open(StringMap(self._scalar(dict, limits), names, self.shape(value)), "a dict with any keys")

    def _class(self, cls: type) -> Object:
        if cls not in self._classes:
            build, found = fields_of(cls, self._namespace)
            documented = class_documentation(cls)
            self._classes[cls] = shape = Object(cls.__name__, build, self._strict, documented.text)
            try:
                shape.fields = tuple(self._class_field(cls, each, documented.parameters) for each in found)
            except Exception:
                del self._classes[cls]
                raise
        return self._classes[cls]

    def _class_field(self, cls: type, found: ClassField, descriptions: Mapping[str, str]) -> Field:
        try:
            return self.field(found, descriptions.get(found.argument or found.name, ""))
        except NotDescribable as error:
            raise NotDescribable(f"{cls.__name__}.{found.name}: {error}") from None

    def _noted(self, shape: Shape, notes: Schema) -> Shape:
        kept = strict_keywords(notes) if self._strict else notes
        return Noted(shape, kept) if kept else shape

    def _open(self, shape: Shape, what: str) -> Shape:
        """Return the shape. In the strict form, raise `NotDescribable`: OpenAI's strict form has no such shape."""
        if self._strict:
            raise NotDescribable(f"{what} cannot be described with strict=True")
        return shape


def _unwrapped(hint: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """Return the innermost annotation.

    Also return the notes and limits that `Annotated` and other wrappers add to it.
    """
    notes, limits = dict[str, Any](), dict[str, Any]()
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint, *metadata = typing.get_args(hint)
            found, limited = _metadata(metadata)
            notes, limits = {**found, **notes}, {**limited, **limits}
        elif origin in (typing.Required, typing.NotRequired, typing.Final):
            (hint,) = typing.get_args(hint)
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":  # type X = ..., from Python 3.12
            hint = hint.__value__
        else:
            return hint, notes, limits


def _metadata(values: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the notes and the limits in `Annotated`. A string or a `Doc` is a description; the last one is used."""
    notes, limits = dict[str, Any](), dict[str, Any]()
    for value in values:
        if isinstance(value, str):
            notes["description"] = value
        elif isinstance(value, msgspec.Meta):
            notes |= {name: note for name in _NOTES if (note := getattr(value, name)) is not None}
            notes |= value.extra_json_schema or {}
            limits |= {name: limit for name in _LIMITS if (limit := getattr(value, name)) is not None}
        elif isinstance(documentation := getattr(value, "documentation", None), str):
            notes["description"] = documentation
    return notes, limits


def _choice(values: Iterable[tuple[Any, Any]]) -> Choice:
    pairs = tuple(values)
    for value, _ in pairs:
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise NotDescribable(f"the value {value!r} has no form in JSON")
    if not pairs:
        raise NotDescribable("an enum without members has no values")
    return Choice(pairs)


def _default_of(found: ClassField, shape: Shape) -> Any:  # noqa: ANN401 - any JSON value
    """Return the default as a JSON value. Return None if the schema would not allow the default."""
    try:
        value = msgspec.json.decode(output_text(found.default))
        shape.structure(value, ())
    except (Mismatch, ValueError, msgspec.MsgspecError):
        return None
    return value


def _is_hashable(shape: Shape) -> bool:
    if isinstance(shape, Noted):
        return _is_hashable(shape.shape)
    if isinstance(shape, Union | FixedArray):
        return all(map(_is_hashable, shape.options if isinstance(shape, Union) else shape.items))
    if isinstance(shape, Object):
        return getattr(shape.build, "__hash__", None) is not None and shape.build is not dict
    return isinstance(shape, Scalar | Choice)


def _name(hint: Any) -> str:  # noqa: ANN401
    return hint.__name__ if isinstance(hint, type) else str(hint)
