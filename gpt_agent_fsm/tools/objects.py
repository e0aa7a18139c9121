"""The shape of JSON objects: the arguments of a function, or the fields of a class."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs

from gpt_agent_fsm.tools.schemas import Definitions, Schema
from gpt_agent_fsm.tools.shapes import Mismatch, Path, Problem, Shape, nullable, shown

__all__ = ["Field", "Object"]


_made: ContextVar[dict[tuple[int, Path], Any] | None] = ContextVar("made", default=None)
"""The results for the objects inside one value, by the class and the place. If these results were not kept, each class
in a union would structure everything inside an object again, and the time would double with each level of nesting."""


@attrs.frozen
class Field:
    """A property of an object.

    Attributes:
        name: the name in JSON.
        argument: the argument that gets the value, or None if the value is only checked.
        shape: the shape of the value.
        required: False if the value may be left out.
        notes: keywords that are added to the schema, such as a description or a default.
    """

    name: str
    argument: str | None
    shape: Shape
    required: bool
    notes: Schema = attrs.field(factory=dict)


@attrs.define(eq=False)
class Object:
    """A JSON object with known properties and no others.

    Attributes:
        name: the name of the function or class.
        build: a callable that makes the Python value from keyword arguments.
        strict: True for OpenAI's strict form. In this form no property may be left out, and null means the default.
        description: a description of the class.
        fields: the properties. They are set after the other attributes, because a class may contain itself.
    """

    name: str
    build: Callable[..., Any]
    strict: bool
    description: str = ""
    fields: tuple[Field, ...] = ()
    words = "an object"

    def schema(self, definitions: Definitions) -> Schema:
        """Return a reference to the schema of a class."""
        return definitions.refer(self, self.name, self.body)

    def body(self, definitions: Definitions) -> Schema:
        """Return the schema itself."""
        required = [field.name for field in self.fields if field.required or self.strict]
        return {
            "type": "object",
            **({"description": self.description} if self.description else {}),
            "properties": {field.name: self._property(field, definitions) for field in self.fields},
            **({"required": required} if required or self.strict else {}),
            "additionalProperties": False,
        }

    def _property(self, field: Field, definitions: Definitions) -> Schema:
        shape = field.shape if field.required or not self.strict else nullable(field.shape)
        return shape.schema(definitions) | field.notes

    def structure_all(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value, any Python value
        """Return the Python value for the whole arguments or the whole answer.

        Raise `Mismatch` for a value that the schema does not allow, and for a value that is nested too deeply.
        """
        token = _made.set({})
        try:
            return self.structure(value, ())
        except RecursionError:
            raise Mismatch([Problem((), "is nested too deeply")]) from None
        finally:
            _made.reset(token)

    def structure(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        """Return the Python value for a JSON object.

        If properties are wrong, missing or unknown, `Mismatch` names each of them.
        """
        made, key = _made.get(), (id(self), path)
        if made is None:
            return self._structured(value, path)
        if key not in made:
            try:
                made[key] = self._structured(value, path)
            except Mismatch as mismatch:
                made[key] = mismatch
        if isinstance(made[key], Mismatch):
            raise Mismatch(made[key].problems)
        return made[key]

    def _structured(self, value: Any, path: Path) -> Any:  # noqa: ANN401
        if not isinstance(value, dict):
            raise Mismatch([Problem(path, f"must be {self.words}", f", not {shown(value)}", is_type=True)])
        given, problems = dict[str, Any](), list[Problem]()
        for field in self.fields:
            here = (*path, field.name)
            if self._is_left_out(field, value):
                problems += [Problem(here, "is missing")] if field.required else []
                continue
            try:
                made = field.shape.structure(value[field.name], here)
            except Mismatch as mismatch:
                problems += mismatch.problems
            else:
                given |= {field.argument: made} if field.argument is not None else {}
        names = [field.name for field in self.fields]
        known = f"known here: {', '.join(names)}" if names else "nothing is known here"
        problems += [Problem((*path, name), f"is unknown ({known})") for name in value if name not in names]
        if problems:
            raise Mismatch(problems)
        return self._built(given, path)

    def _is_left_out(self, field: Field, value: dict[str, Any]) -> bool:
        if field.name not in value:
            return True
        return self.strict and not field.required and value[field.name] is None

    def _built(self, given: dict[str, Any], path: Path) -> Any:  # noqa: ANN401
        try:
            return self.build(**given)
        except RecursionError:
            raise
        except Exception as error:
            # A class may check its fields in many ways, for example with `assert`. So any exception may be raised here.
            reason = (
                error.args[0] if error.args and isinstance(error.args[0], str) else str(error) or type(error).__name__
            )
            raise Mismatch([Problem(path, "is not valid", f": {reason}")]) from error
