"""Finds the fields of a class, so that objects of this class can be made from JSON objects."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

__all__ = ["MISSING", "ClassField", "NotDescribable", "fields_of", "is_class_with_fields"]

MISSING = object()
"""The default of a field that has no default, or whose default is made for each object."""


class NotDescribable(Exception):
    """Raised if no JSON schema can describe an annotation, or if the library cannot enforce the schema that can."""


@attrs.frozen
class ClassField:
    """A field of a class, or a parameter of a function.

    Attributes:
        name: the name in JSON.
        argument: the argument that gets the value, or None if the value is only checked.
        hint: the annotation with all names resolved.
        required: False if the model may leave the field out.
        default: the value if the field is left out, or `MISSING`.
    """

    name: str
    argument: str | None
    hint: Any
    required: bool
    default: Any = MISSING


Found = tuple[Callable[..., Any], list[ClassField]]
Hints = Mapping[str, Any]


def is_class_with_fields(cls: type) -> bool:
    """Return whether this module can find the fields of a class."""
    return any(is_kind(cls) for is_kind, _ in _KINDS)


def fields_of(cls: type, namespace: Mapping[str, Any]) -> Found:
    """Return two things: a callable that makes the Python value from keyword arguments; and the fields of the class."""
    if getattr(cls, "__parameters__", ()):
        raise NotDescribable(f"the generic class {cls.__name__} cannot be described")
    hints = typing.get_type_hints(cls, localns={**namespace, cls.__name__: cls}, include_extras=True)
    read = next(read for is_kind, read in _KINDS if is_kind(cls))
    build = dict if _is_typed_dict(cls) else cls
    return build, list(read(cls, hints))


def _of_attrs(cls: Any, hints: Hints) -> Iterator[ClassField]:  # noqa: ANN401 - a class of a kind without a type
    for field in attrs.fields(cls):
        if field.init:
            has_default = field.default is not attrs.NOTHING
            default = MISSING if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
            yield ClassField(field.alias, field.alias, _hint(hints, field.name), not has_default, default)


def _of_dataclass(cls: Any, hints: Hints) -> Iterator[ClassField]:  # noqa: ANN401
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise NotDescribable(f"the dataclass {cls.__name__} with InitVar cannot be described")
    for field in dataclasses.fields(cls):
        if field.init:
            is_plain = field.default is not dataclasses.MISSING
            required = not is_plain and field.default_factory is dataclasses.MISSING
            yield ClassField(
                field.name, field.name, _hint(hints, field.name), required, field.default if is_plain else MISSING
            )


def _of_struct(cls: Any, hints: Hints) -> Iterator[ClassField]:  # noqa: ANN401
    config = cls.__struct_config__
    if config.array_like:
        raise NotDescribable(f"the struct {cls.__name__} with array_like=True cannot be described")
    if config.tag_field is not None:
        yield ClassField(config.tag_field, None, typing.Literal[config.tag], required=True)
    for field in msgspec.structs.fields(cls):
        default = MISSING if field.default is msgspec.NODEFAULT else field.default
        yield ClassField(field.encode_name, field.name, _hint(hints, field.name), field.required, default)


def _of_named_tuple(cls: Any, hints: Hints) -> Iterator[ClassField]:  # noqa: ANN401
    for name in cls._fields:
        has_default = name in cls._field_defaults
        yield ClassField(name, name, _hint(hints, name), not has_default, cls._field_defaults.get(name, MISSING))


def _of_typed_dict(cls: Any, hints: Hints) -> Iterator[ClassField]:  # noqa: ANN401
    for name, hint in hints.items():
        # With postponed annotations, Python does not see `Required` and `NotRequired` when it collects the required
        # keys.
        origin: Any = typing.get_origin(hint)
        is_marked = origin in (typing.Required, typing.NotRequired)
        required = origin is typing.Required if is_marked else name in cls.__required_keys__
        yield ClassField(name, name, hint, required)


def _hint(hints: Hints, name: str) -> Any:  # noqa: ANN401
    try:
        return hints[name]
    except KeyError:
        raise NotDescribable(f"the field {name} has no annotation") from None


def _is_typed_dict(cls: type) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")  # includes the `TypedDict` of typing_extensions


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_field_defaults")


def _is_struct(cls: type) -> bool:
    return issubclass(cls, msgspec.Struct)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Hints], Iterator[ClassField]]], ...] = (
    (_is_typed_dict, _of_typed_dict),
    (attrs.has, _of_attrs),
    (dataclasses.is_dataclass, _of_dataclass),
    (_is_struct, _of_struct),
    (_is_named_tuple, _of_named_tuple),
)
