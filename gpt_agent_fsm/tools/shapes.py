"""The shapes of JSON values. A shape has a JSON schema, and converts exactly the values that the schema allows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import attrs
import msgspec

from gpt_agent_fsm.tools.schemas import Definitions, Schema, any_of

__all__ = [
    "Anything",
    "Array",
    "Choice",
    "FixedArray",
    "Mismatch",
    "Noted",
    "Path",
    "Problem",
    "Scalar",
    "Shape",
    "StringMap",
    "Union",
    "nullable",
    "shown",
]

Path: TypeAlias = tuple[str | int, ...]
_MAX_SHOWN = 80
_MAX_PROBLEMS = 20
_WORDS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}


@attrs.frozen
class Problem:
    """A problem of a value.

    Attributes:
        path: the place of the value.
        text: what is wrong, for example what the value must be. It does not quote the value.
        detail: the rest of the sentence, which may quote the value.
        is_type: True if the value has a wrong JSON type.
    """

    path: Path
    text: str
    detail: str = ""
    is_type: bool = False

    def __str__(self) -> str:
        return self.without_value() + self.detail

    def without_value(self) -> str:
        """Return the sentence without the part that may quote the value."""
        first, *rest = (_cut(step) if isinstance(step, str) else step for step in self.path or ("the value",))
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)
        return f"{first}{''.join(steps)} {self.text}"


class Mismatch(Exception):
    """The error for a value that does not fit a shape.

    Its text names only the first problems, so that it stays short.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        return self._joined(str)

    def without_values(self) -> str:
        """Return the text of the error without the parts that may quote values. It contains the names of fields."""
        return self._joined(Problem.without_value)

    def _joined(self, sentence: Callable[[Problem], str]) -> str:
        named = [sentence(problem) for problem in self.problems[:_MAX_PROBLEMS]]
        more = len(self.problems) - len(named)
        return "; ".join([*named, f"and {more} more"] if more else named)


class Shape(Protocol):
    """The set of JSON values that a parameter may have.

    A shape also converts each of these values into a Python value.
    """

    @property
    def words(self) -> str:
        """A description of the values in words, such as "a string"."""

    def schema(self, definitions: Definitions) -> Schema:
        """Return the JSON schema. Classes in it are added to the definitions."""

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401 - any JSON value, any Python value
        """Return the Python value. Raise `Mismatch` for a value that the schema does not allow."""


def shown(value: object) -> str:
    """Return a JSON value as text. A long text is cut, so that it fits into a message."""
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _fits(value: object, kind: str) -> bool:
    """Return whether a decoded JSON value has this type of JSON schema. In JSON schema, 1.0 is an integer."""
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, float):
        return math.isfinite(value) and (kind == "number" or (kind == "integer" and value.is_integer()))
    kinds = {str: ("string",), int: ("integer", "number"), list: ("array",), dict: ("object",)}
    return kind in kinds[type(value)]


def _wrong(shape: Shape, value: object, path: Path) -> Mismatch:
    return Mismatch([Problem(path, f"must be {shape.words}", f", not {shown(value)}", is_type=True)])


@attrs.frozen
class Scalar:
    """A value that msgspec describes and converts with its constraints: a string, a number, a date, ...

    An `Array` or a `StringMap` uses a scalar for its outer part, a list or dict of any values.

    Attributes:
        base: the type for msgspec.
        own: the JSON schema.
        make: a callable that makes the Python value from the value that msgspec returns. None if both are the same.
    """

    base: Any
    own: Schema
    make: Callable[[Any], Any] | None = None

    @property
    def words(self) -> str:
        """The type, and the format or the encoding."""
        word, form, coding = _WORDS[self.own["type"]], self.own.get("format"), self.own.get("contentEncoding")
        return f"{word} with the format {form}" if form else f"{word} in {coding}" if coding else word

    def schema(self, _: Definitions) -> Schema:
        """Return the schema that msgspec wrote."""
        return dict(self.own)

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the Python value, which msgspec makes if the value has the right JSON type."""
        if not _fits(value, self.own["type"]):
            raise _wrong(self, value, path)
        if self.own["type"] == "integer":
            value = int(value)
        try:
            made = msgspec.convert(value, self.base)
        except (msgspec.ValidationError, ValueError) as error:  # a `ValueError` for an unpaired surrogate
            raise Mismatch([Problem(path, self._explained(str(error)), f", not {shown(value)}")]) from None
        return self.make(made) if self.make else made

    def _explained(self, message: str) -> str:
        """Return msgspec's error message without the names of Python types."""
        expected, _, limit = message.partition("` ")
        is_limit = expected.startswith("Expected `") and limit
        return f"must be {_WORDS[self.own['type']]} {limit}" if is_limit else f"must be {self.words}"


@attrs.frozen
class Choice:
    """One of several scalars, for a `Literal` or an enum. Each scalar has a Python value."""

    values: tuple[tuple[Any, Any], ...]

    @property
    def words(self) -> str:
        """The values as JSON."""
        return ("one of " if len(self.values) > 1 else "") + ", ".join(shown(value) for value, _ in self.values)

    def schema(self, _: Definitions) -> Schema:
        """Return a schema with the types, and with the values in their order."""
        types = [next(kind for kind in _WORDS if _fits(value, kind)) for value, _ in self.values]
        unique = list(dict.fromkeys(types))
        return {"type": unique if len(unique) > 1 else unique[0], "enum": [value for value, _ in self.values]}

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the Python value of the choice that equals the JSON value. Here, true does not equal 1."""
        for known, made in self.values:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return made
        is_type = all(not isinstance(value, type(known)) for known, _ in self.values)
        raise Mismatch([Problem(path, f"must be {self.words}", f", not {shown(value)}", is_type=is_type)])


@attrs.frozen
class Anything:
    """Any JSON value."""

    words = "any value"

    def schema(self, _: Definitions) -> Schema:
        """Return the schema that allows everything."""
        return {}

    def structure(self, value: Any, _: Path) -> Any:  # noqa: ANN401
        """Return the value."""
        return value


def _gathered(parts: Iterable[tuple[Shape, Any, Path]]) -> list[Any]:
    """Return the Python values of the parts of a value.

    If parts are wrong, raise one `Mismatch` with all their problems.
    """
    made, problems = [], list[Problem]()
    for shape, value, path in parts:
        try:
            made.append(shape.structure(value, path))
        except Mismatch as mismatch:
            problems += mismatch.problems
    if problems:
        raise Mismatch(problems)
    return made


@attrs.frozen
class Array:
    """Any number of values of one shape: a list, a set, a tuple of one type.

    Attributes:
        whole: the shape of a list of any values, with the limits of the array.
        item: the shape of each value.
        make: a callable that makes the Python value from a list.
        unique: True if no two values may be equal.
    """

    whole: Scalar
    item: Shape
    make: Callable[[list[Any]], Any]
    unique: bool = False

    @property
    def words(self) -> str:
        """The type."""
        return self.whole.words

    def schema(self, definitions: Definitions) -> Schema:
        """Return the schema of the array. If the items may be any value, the schema has no keyword for items."""
        item = self.item.schema(definitions)
        return self.whole.schema(definitions) | ({"items": item} if item else {})

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the values in the Python container."""
        values = self.whole.structure(value, path)
        made = self.make(_gathered((self.item, each, (*path, index)) for index, each in enumerate(values)))
        if self.unique and len(made) < len(values):
            raise Mismatch([Problem(path, "must not contain a value twice")])
        return made


@attrs.frozen
class FixedArray:
    """A fixed number of values, each with a shape of its own: a tuple."""

    items: tuple[Shape, ...]

    @property
    def words(self) -> str:
        """The type and the number of values."""
        return f"an array of length {len(self.items)}"

    def schema(self, definitions: Definitions) -> Schema:
        """Return the schema. If all values have the same shape, the shape is described once."""
        size = len(self.items)
        schemas = [item.schema(definitions) for item in self.items]
        alike = all(schema == schemas[0] for schema in schemas)
        form = {"items": schemas[0]} if schemas and alike else {"prefixItems": schemas, "items": False}
        return {"type": "array", **(form if schemas else {}), "minItems": size, "maxItems": size}

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the values as a tuple."""
        if not isinstance(value, list) or len(value) != len(self.items):
            raise _wrong(self, value, path)
        parts = zip(self.items, value, range(len(value)), strict=True)
        return tuple(_gathered((item, each, (*path, index)) for item, each, index in parts))


@attrs.frozen
class StringMap:
    """A dict whose names are not fixed. All values have one shape.

    Attributes:
        whole: the shape of the dict itself, with limits such as the number of entries, whatever its values are.
        key: the shape of the names.
        value: the shape of the values.
    """

    whole: Scalar
    key: Shape
    value: Shape

    @property
    def words(self) -> str:
        """The type."""
        return self.whole.words

    def schema(self, definitions: Definitions) -> Schema:
        """Return the schema. If the names may be any string, the schema has no keyword for names."""
        key = {name: rule for name, rule in self.key.schema(definitions).items() if name != "type"}
        value = self.value.schema(definitions)
        return (
            self.whole.schema(definitions)
            | ({"propertyNames": key} if key else {})
            | ({"additionalProperties": value} if value else {})
        )

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the dict with structured names and values."""
        given = self.whole.structure(value, path)
        keys = _gathered((self.key, key, (*path, key)) for key in given)
        return dict(zip(keys, _gathered((self.value, each, (*path, key)) for key, each in given.items()), strict=True))


@attrs.frozen
class Union:
    """A value that has one of several shapes. The first shape that fits is used."""

    options: tuple[Shape, ...]

    @property
    def words(self) -> str:
        """The options."""
        return " or ".join(dict.fromkeys(option.words for option in self.options))

    def schema(self, definitions: Definitions) -> Schema:
        """Return the shortest schema that allows each value that an option allows."""
        return any_of([option.schema(definitions) for option in self.options])

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the Python value from the first option that allows the value.

        If no option allows it, raise the `Mismatch` of the option that fits best.
        """
        near: list[Mismatch] = []
        for option in self.options:
            try:
                return option.structure(value, path)
            except Mismatch as mismatch:
                if not any(problem.is_type and problem.path == path for problem in mismatch.problems):
                    near.append(mismatch)

        def distance(mismatch: Mismatch) -> tuple[int, int]:
            """Return how far an option is from the value: the numbers of problems at this place and in total."""
            here = [problem for problem in mismatch.problems if len(problem.path) <= len(path) + 1]
            return len(here), len(mismatch.problems)

        raise min(near, key=distance, default=_wrong(self, value, path))


@attrs.frozen
class Noted:
    """A shape with a description and other keywords that do not restrict its values."""

    shape: Shape
    notes: Schema

    @property
    def words(self) -> str:
        """The words of the inner shape."""
        return self.shape.words

    def schema(self, definitions: Definitions) -> Schema:
        """Return the schema of the inner shape with the notes."""
        return self.shape.schema(definitions) | self.notes

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the Python value from the inner shape."""
        return self.shape.structure(value, path)


NULL = Scalar(None, {"type": "null"})


def nullable(shape: Shape) -> Shape:
    """Return a shape that also allows null. Notes stay outermost, where they describe the whole shape."""
    if isinstance(shape, Noted):
        return Noted(nullable(shape.shape), shape.notes)
    options = shape.options if isinstance(shape, Union) else (shape,)
    try:
        shape.structure(None, ())
    except Mismatch:
        return Union((*options, NULL))
    return shape
