"""The form of a structured answer. It has a schema for the model, and makes a Python value from the answer's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_fsm.machine.arguments import BROKEN, decode_arguments
from gpt_agent_fsm.tools.definition import json_object

__all__ = ["InvalidOutput", "Output", "as_output"]

_UNUSABLE = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME = 64


class InvalidOutput(Exception):
    """Raised for a text that does not have the requested form.

    The message names the wrong fields and says what they must be. It does not contain the values of the text.
    """


@attrs.frozen
class Output:
    """The form of an answer.

    Attributes:
        name: the name of the form for the model.
        schema: the JSON schema that the model must follow.
        strict: True if the schema has OpenAI's strict form.
    """

    name: str
    schema: Mapping[str, Any]
    strict: bool
    _structure: Callable[[Any], Any] = attrs.field(repr=False, eq=False)

    def to_json(self) -> dict[str, Any]:
        """Return the form as the JSON object that a run's options contain."""
        return {"name": self.name, "schema": self.schema, "strict": self.strict}

    def value(self, text: str) -> Any:  # noqa: ANN401 - the class that was asked for
        """Return the Python value of an answer's text. Raise `InvalidOutput` if the text does not have the form."""
        value = decode_arguments(text) if text.strip() else BROKEN
        if value is BROKEN:
            raise InvalidOutput("the answer is not valid JSON" if text.strip() else "the answer is empty")
        return self._structure(value)


def as_output(given: object) -> Output:
    """Return the form for a class or a JSON schema. Raise `ValueError` if no form can be made for it.

    The schema of a class has OpenAI's strict form, if this form can describe the class. In the strict form, the model
    must write every field. It writes null for a field that must get its default. A JSON schema needs the package
    `jsonschema` (extra `local`), which checks the answers.
    """
    if isinstance(given, Output):
        return given
    if isinstance(given, Mapping):
        return _of_schema(json_object(given, "output"))
    if not isinstance(given, type):
        raise ValueError(f"output must be a JSON schema or a class with fields, not {given!r}")
    return _of_class(given)


def _name(text: str) -> str:
    return _UNUSABLE.sub("_", text)[:_MAX_NAME] or "answer"


def _of_class(cls: type) -> Output:
    # Imported late: it needs msgspec and a parser of docstrings, which a program without structured answers does not
    # need.
    from gpt_agent_fsm.tools.describing import Describer  # noqa: PLC0415
    from gpt_agent_fsm.tools.fields import NotDescribable  # noqa: PLC0415
    from gpt_agent_fsm.tools.objects import Object  # noqa: PLC0415
    from gpt_agent_fsm.tools.schemas import Definitions  # noqa: PLC0415
    from gpt_agent_fsm.tools.shapes import Mismatch, Shape  # noqa: PLC0415

    def described(*, strict: bool) -> Shape:
        try:
            return Describer(strict=strict, namespace={}).shape(cls)
        except NameError as error:
            raise NotDescribable(f"{error}; define it at the top of a module") from None

    try:
        shape, strict = described(strict=True), True
    except NotDescribable:
        try:
            shape, strict = described(strict=False), False
        except NotDescribable as error:
            raise ValueError(f"output: {error}") from None
    if not isinstance(shape, Object):
        raise ValueError(f"output must be a class with fields; put {cls.__name__} into a field of such a class")

    def structure(value: Any) -> Any:  # noqa: ANN401
        try:
            return shape.structure_all(value)
        except Mismatch as mismatch:
            raise InvalidOutput(mismatch.without_values()) from None

    definitions = Definitions()
    return Output(_name(cls.__name__), definitions.document(shape.body(definitions)), strict, structure)


def _of_schema(schema: dict[str, Any]) -> Output:
    try:
        import jsonschema  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        import referencing  # noqa: PLC0415 - as above
    except ImportError:
        raise ValueError("output: a JSON schema needs the package jsonschema; install the extra 'local'") from None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"output: not a valid JSON schema: {error.message}") from None
    if schema.get("type") != "object":
        raise ValueError('output must be a JSON schema of the type "object"')
    # With a registry, no schema is loaded from an address.
    validator = kind(schema, registry=referencing.Registry())

    def structure(value: Any) -> Any:  # noqa: ANN401
        try:
            error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        except Exception as problem:  # noqa: BLE001 - whatever a schema makes the validator raise
            # For example a reference that leads nowhere, or to itself, or a number that is too large for a division.
            raise InvalidOutput(f"the schema cannot be applied to it ({type(problem).__name__})") from None
        # The messages of jsonschema quote the value, so the error names only its place.
        if error is not None:
            raise InvalidOutput(f"{error.json_path} does not fit the schema's {error.validator!r}")
        return value

    return Output(_name(str(schema.get("title", ""))), schema, _is_strict(schema), structure)


def _is_strict(schema: object) -> bool:
    """Return whether all objects in a schema have the strict form: all properties are required, no others allowed."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, Mapping):
        names = set(properties) if isinstance(properties, Mapping) else set()
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != names:
            return False
    return all(map(_is_strict, schema.values()))
