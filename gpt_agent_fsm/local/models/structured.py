"""Checks structured answers. The `response_format` of a request asks for JSON, or for JSON that fits a schema.

A client chooses the schema. So no schema may make this module raise an error or take long. The regular expressions in a
schema are never run. They are written for JavaScript, and some of them would run forever on certain texts.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import referencing

from gpt_agent_fsm.local.models.protocol import ModelError, ModelRequest, Reply

MAX_SCHEMA_VALUES = 10_000
"""The maximum number of values in a schema."""

MAX_SCHEMA_ARRAY = 1000
"""The maximum number of items in an array of a schema."""

_MAX_SHOWN = 300

# Without this registry, a reference in a client's schema would make the server load another schema from its address.
_NO_REMOTE: referencing.Registry[Any] = referencing.Registry()

_PATTERNS = ("pattern", "patternProperties")
# Patterns are not run. So if a schema has `patternProperties`, it is unknown which properties are additional.
_BESIDE_PATTERNS = ("additionalProperties", "unevaluatedProperties")


def schema_error(schema: Mapping[str, Any]) -> str | None:
    """Return a sentence that says what is wrong with a JSON schema. The sentence has no full stop.

    Return None if the schema is valid.

    The result is cached, because the check of a large schema takes longer than a transaction may take.
    """
    return _schema_error(msgspec.json.encode(schema))


@functools.lru_cache(maxsize=64)
def _schema_error(encoded: bytes) -> str | None:
    schema = msgspec.json.decode(encoded)
    if reason := _too_large(schema):
        return reason
    if not isinstance(schema.get("$schema", ""), str):
        return "'$schema' must be a string"
    try:
        # Formats are not checked, because Python would refuse patterns that are valid in JavaScript.
        _validator(schema).check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        return _shown(error.message)
    except RecursionError:
        return "it is nested too deeply"
    except Exception:  # noqa: BLE001 - whatever a schema of a client makes the validator raise
        return "it cannot be checked"
    return None


def _too_large(schema: object) -> str | None:
    count = 0
    level = [schema]
    while level:
        count += len(level)
        if count > MAX_SCHEMA_VALUES:
            return f"it has more than {MAX_SCHEMA_VALUES} values"
        if any(isinstance(value, list) and len(value) > MAX_SCHEMA_ARRAY for value in level):
            return f"it has an array of more than {MAX_SCHEMA_ARRAY} items"
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return None


def misfit(request: ModelRequest, reply: Reply) -> ModelError | None:
    """Return an error if a complete answer is not the JSON that the request asks for. Otherwise return None."""
    if request.response_format is None or reply.calls or reply.incomplete or reply.refusal:
        return None
    try:
        value = msgspec.json.decode(reply.text)
    except (ValueError, RecursionError):
        return ModelError("server_error", "The answer is not valid JSON, but JSON was asked for.")
    if request.response_format.get("type") == "json_object" and not isinstance(value, dict):
        return ModelError("server_error", "The answer is not a JSON object, but a JSON object was asked for.")
    reason = None if request.schema is None else _reason(request.schema, value)
    if reason is None:
        return None
    return ModelError("server_error", f"The answer does not fit the JSON schema that was asked for: {reason}.")


def _reason(schema: dict[str, Any], value: object) -> str | None:
    try:
        without_patterns = _without_patterns(_validator(schema), b'"patternProperties"' in msgspec.json.encode(schema))
        error = next(without_patterns(schema, registry=_NO_REMOTE).iter_errors(value), None)
    except referencing.exceptions.Unresolvable as unresolvable:
        return _shown(f"the schema refers to {unresolvable.ref}, which it does not have")
    except RecursionError:
        return "the schema refers to itself without an end"
    except Exception:  # noqa: BLE001 - whatever a schema of a client makes the validator raise
        # Some valid schemas cannot be applied. For example, a reference may lead to a number.
        return "the schema cannot be applied to it"
    return None if error is None else _shown(f"at {error.json_path}, {error.message}")


def _validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a class of jsonschema, which has no type
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def _without_patterns(validator: Any, has_pattern_properties: bool) -> Any:  # noqa: ANN401 - as above
    skipped = (*_PATTERNS, *_BESIDE_PATTERNS) if has_pattern_properties else _PATTERNS
    return jsonschema.validators.extend(validator, dict.fromkeys(skipped, _fits))


def _fits(*_arguments: object) -> tuple[()]:
    """Accept any value. `jsonschema` calls this function as a check."""
    return ()


def _shown(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
