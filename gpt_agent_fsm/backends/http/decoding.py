"""Decodes the bytes of an HTTP answer into JSON values, as leniently as possible."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["decode"]


def decode(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value in `body`. All texts in the value can be encoded. Raise `ValueError` for invalid JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # This decoder is ten times slower, but accepts a byte order mark, UTF-16, NaN, huge numbers and unpaired
        # surrogates.
        return _whole(json.loads(body))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not valid JSON") from None


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace unpaired surrogates in all texts. Some servers cut a text inside a character, and so produce them."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {_whole(name): _whole(item) for name, item in value.items()}
    return value
