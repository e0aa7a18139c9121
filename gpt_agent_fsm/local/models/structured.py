"""Structured answers: JSON, or JSON that fits a schema, as the `response_format` of a request asks."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import referencing

from gpt_agent_fsm.local.models.protocol import ModelError, ModelRequest, Reply

_MAX_SHOWN = 300

# Without this registry, a reference in a client's schema would make the server load it from its address.
_NO_REMOTE: referencing.Registry[Any] = referencing.Registry()


def schema_error(schema: dict[str, Any]) -> str | None:
    """Return what is wrong with a JSON schema, in one sentence without its full stop; None if it is valid."""
    try:
        _validator(schema).check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        return _shown(getattr(error, "message", "it is nested too deeply"))
    return None


def misfit(request: ModelRequest, reply: Reply) -> ModelError | None:
    """Return the error for a complete answer that is not the JSON that was asked for; None if it is."""
    if request.response_format is None or reply.calls or reply.incomplete:
        return None
    try:
        value = msgspec.json.decode(reply.text)
    except (ValueError, RecursionError):
        return ModelError("server_error", "The answer is not valid JSON, but JSON was asked for.")
    reason = None if request.schema is None else _reason(request.schema, value)
    if reason is None:
        return None
    return ModelError("server_error", f"The answer does not fit the JSON schema that was asked for: {reason}.")


def _reason(schema: dict[str, Any], value: object) -> str | None:
    try:
        error = next(_validator(schema)(schema, registry=_NO_REMOTE).iter_errors(value), None)
    except referencing.exceptions.Unresolvable as unresolvable:
        return _shown(f"the schema refers to {unresolvable.ref}, which it does not have")
    except RecursionError:
        return "the schema refers to itself without an end"
    return None if error is None else _shown(f"at {error.json_path}, {error.message}")


def _validator(schema: dict[str, Any]) -> Any:  # noqa: ANN401 - a class of jsonschema, which has no type
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def _shown(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
