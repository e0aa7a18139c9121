"""Reads a client's input. Every function returns a checked value, or raises the `ApiProblem` that says what is wrong.

Unknown fields of inner objects are ignored. An unknown option for the model is refused; see `options.check_names`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gpt_agent_fsm.local.http.error_responses import bad_request, missing, not_offered, wrong_type, wrong_value
from gpt_agent_fsm.local.shared.storage import Doc, PageQuery

MAX_TEXT = 256_000
"""The longest text of a message or of instructions, in characters."""

NO_LIMIT = math.inf
"""The limit of a text that may be as long as the whole body allows."""

MAX_DEPTH = 100
"""The maximum nesting of objects and arrays in a body, so that the server can write every value that it has read."""

_INTEGER = re.compile(r"-?[0-9]{1,12}")


def json_object(raw: bytes) -> Doc:
    """Return the JSON object in the body of a request. If the body is empty, return an empty object."""
    if not raw.strip():
        return {}
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise bad_request("We could not parse the JSON body of your request: it is not valid JSON.") from error
    if not isinstance(body, dict):
        raise bad_request("We could not parse the JSON body of your request: a JSON object is expected.")
    # Most bodies have too few brackets to be nested deeply, so their depth need not be measured.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise bad_request("The JSON body of your request is nested too deeply.")
    return body


def _depth(value: dict[str, object] | list[object]) -> int:
    level: list[dict[str, object] | list[object]] = [value]
    depth = 0
    while level:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return depth


def text(body: Mapping[str, Any], name: str, *, prefix: str = "", longest: float = MAX_TEXT) -> str | None:
    """Return an optional string. Return None if it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    param = prefix + name
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    if len(value) > longest:
        raise bad_request(
            f"Invalid '{param}': string too long. Expected a string with maximum length {longest}, "
            f"but got a string with length {len(value)} instead.",
            param,
            "string_above_max_length",
        )
    return value


def required_text(body: Mapping[str, Any], name: str, *, prefix: str = "", longest: float = MAX_TEXT) -> str:
    """Return a required string that must not be blank."""
    value = text(body, name, prefix=prefix, longest=longest)
    if value is None:
        raise missing(prefix + name)
    if not value.strip():
        raise bad_request(f"Invalid '{prefix}{name}': the string must not be blank.", prefix + name, "invalid_value")
    return value


def choice(body: Mapping[str, Any], name: str, *, choices: tuple[str, ...], prefix: str = "") -> str | None:
    """Return an optional string that is one of the choices. Return None if it is absent or null."""
    value = text(body, name, prefix=prefix)
    if value is not None and value not in choices:
        raise wrong_value(prefix + name, value, ", ".join(f"'{each}'" for each in choices))
    return value


def objects(body: Mapping[str, Any], name: str, *, prefix: str = "", maximum: int = 1000) -> list[Doc] | None:
    """Return an optional array of objects. Return None if it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    param = prefix + name
    if not isinstance(value, list):
        raise wrong_type(param, "an array of objects", value)
    if len(value) > maximum:
        raise bad_request(
            f"Invalid '{param}': array too long. Expected an array with maximum length {maximum}, "
            f"but got an array with length {len(value)} instead.",
            param,
            "array_above_max_length",
        )
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_type(f"{param}[{index}]", "an object", item)
    return value


def mapping(body: Mapping[str, Any], name: str, *, prefix: str = "") -> Doc | None:
    """Return an optional object. Return None if it is absent or null."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(prefix + name, "an object", value)
    return value


def boolean(body: Mapping[str, Any], name: str, *, default: bool, prefix: str = "") -> bool:
    """Return an optional boolean. Return the default if it is absent or null."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(prefix + name, "a boolean", value)
    return value


def required_boolean(body: Mapping[str, Any], name: str, *, prefix: str = "") -> bool:
    """Return a required boolean."""
    if body.get(name) is None:
        raise missing(prefix + name)
    return boolean(body, name, default=False, prefix=prefix)


def integer(
    body: Mapping[str, Any], name: str, *, minimum: int, maximum: int | None = None, prefix: str = ""
) -> int | None:
    """Return an optional integer. Return None if it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(prefix + name, "an integer", value)
    _check_range(prefix + name, value, minimum, maximum)
    return value


def number(body: Mapping[str, Any], name: str, *, minimum: float, maximum: float) -> float | None:
    """Return an optional number. Return None if it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(name, "a decimal", value)
    _check_range(name, value, minimum, maximum)
    return value


def _check_range(param: str, value: float, minimum: float, maximum: float | None) -> None:
    kind = "integer" if isinstance(value, int) else "decimal"
    if value < minimum:
        raise bad_request(
            f"Invalid '{param}': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead.",
            param,
            f"{kind}_below_min_value",
        )
    if maximum is not None and value > maximum:
        raise bad_request(
            f"Invalid '{param}': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead.",
            param,
            f"{kind}_above_max_value",
        )


def metadata(body: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Return the metadata. Return an empty dict if the field is absent or null.

    At most 16 pairs are allowed, with keys of at most 64 and values of at most 512 characters.
    """
    value = body.get("metadata")
    if value is None:
        return {}
    param = f"{prefix}metadata"
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    if len(value) > 16:
        raise bad_request(
            f"Invalid '{param}': too many properties. Expected an object with at most 16 properties, "
            f"but got an object with {len(value)} properties instead.",
            param,
            "object_above_max_properties",
        )
    for key in value:
        if len(key) > 64:
            raise bad_request(
                f"Invalid '{param}': property name too long. Expected property names with maximum length 64, "
                f"but got one with length {len(key)} instead.",
                param,
                "object_property_name_too_long",
            )
        if text(value, key, prefix=f"{param}.", longest=512) is None:
            raise wrong_type(f"{param}.{key}", "a string", None)
    return value


def tool_objects(body: Mapping[str, Any]) -> list[Doc] | None:
    """Return the tool definitions. Return None if they are absent or null. Raises the 501 unless all are functions."""
    definitions = objects(body, "tools", maximum=128)
    for index, definition in enumerate(definitions or ()):
        kind = required_text(definition, "type", prefix=f"tools[{index}].")
        if kind != "function":
            raise not_offered(f"A tool of type '{kind[:100]}' is", f"tools[{index}].type")
    return definitions


def check_function(function: Mapping[str, Any], prefix: str) -> None:
    """Check the fields that both APIs have in the definition of a function."""
    required_text(function, "name", prefix=prefix)
    text(function, "description", prefix=prefix)
    mapping(function, "parameters", prefix=prefix)
    boolean(function, "strict", default=False, prefix=prefix)


def page_query(args: Mapping[str, str], *, maximum: int = 100, default: int = 20) -> PageQuery:
    """Return which page of a list the query string asks for. A page has at most `maximum` objects."""
    order = args.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise wrong_value("order", order, "'asc' and 'desc'")
    return PageQuery(
        _limit(args.get("limit") or str(default), maximum),
        "asc" if order == "asc" else "desc",
        args.get("after") or None,
        args.get("before") or None,
    )


def starting_after(args: Mapping[str, str]) -> int:
    """Return the number of the last event that the client has got, from the query string. Return -1 if it has none."""
    value = args.get("starting_after") or "-1"
    if not _INTEGER.fullmatch(value):
        raise wrong_type("starting_after", "an integer", value)
    return int(value)


def _limit(value: str, maximum: int) -> int:
    if not _INTEGER.fullmatch(value):
        raise wrong_type("limit", "an integer", value)
    limit = int(value)
    _check_range("limit", limit, 1, maximum)
    return limit
