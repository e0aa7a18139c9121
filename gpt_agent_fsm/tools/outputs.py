"""Converts the output of a tool into JSON text."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import attrs

__all__ = ["json_text", "output_text"]


def json_text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value as compact text. Raise `ValueError` if the value has no form in JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a tool output must be a JSON value: {error}") from None
    return text


def output_text(value: Any) -> str:  # noqa: ANN401 - whatever a function returns
    """Return the result of a function as compact JSON text. Raise `ValueError` if the result has no form in JSON.

    Attrs classes, dataclasses, `msgspec.Struct`, enums, dates, sets, tuples, UUIDs and decimals have a form.
    """
    try:
        return json_text(value)
    except ValueError:
        return json_text(_in_plain_types(value))


def _in_plain_types(value: object) -> object:
    import msgspec  # noqa: PLC0415 - few results need it

    try:
        return msgspec.to_builtins(_with_fields_in_order(value), str_keys=True, enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a tool output must be a JSON value: {error}") from None


def _with_fields_in_order(value: Any) -> Any:  # noqa: ANN401 - whatever a function returns
    """Return the value with a mapping in place of each attrs object. msgspec would sort the fields of some classes."""
    if attrs.has(type(value)):
        fields = (field.name for field in attrs.fields(type(value)) if not field.name.startswith("_"))
        return {name: _with_fields_in_order(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {key: _with_fields_in_order(each) for key, each in value.items()}
    return [_with_fields_in_order(each) for each in value] if type(value) in (list, tuple) else value


def _plain(value: object) -> object:
    """Convert an object of a class that msgspec does not know. The result has a form that msgspec can write."""
    if isinstance(value, Mapping):
        return dict(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Collection):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
