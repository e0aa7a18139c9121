"""Builders of the table in `shapes`: answers of a server, and the answer that is right."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from gpt_agent_fsm.local import Reply, ToolCall
from tests.local.chat_server import DONE, event, piece

EVENTS = "text/event-stream"
JSON = "application/json"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "get_time", "ping")
]
OSLO, ROME = '{"city": "Oslo"}', '{"city": "Rome"}'
WEATHER = ToolCall("get_weather", OSLO)
BOTH = (WEATHER, ToolCall("get_weather", ROME))


@frozen
class Shape:
    """What a server sends, and the right reply to it, or words of the right error."""

    name: str
    sent: bytes
    right: Reply | str
    content_type: str = EVENTS


def shape(name: str, *parts: bytes | dict[str, Any], right: Reply | str, finish: str | None = "stop") -> Shape:
    """Return a stream of these deltas or bytes; its end is added unless `finish` is None."""
    sent = b"".join(part if isinstance(part, bytes) else piece(part) for part in parts)
    return Shape(name, sent + (b"" if finish is None else piece({}, finish) + DONE), right)


def text(content: str) -> dict[str, Any]:
    return {"content": content}


def choice(**fields: object) -> bytes:
    """Return the event with one choice, whatever its fields are."""
    return event({"choices": [{"index": 0} | fields]})


def numbered(index: object, **delta: object) -> bytes:
    """Return the event with a delta of the choice with this number."""
    return event({"choices": [{"index": index, "delta": delta}]})


def unnumbered(**delta: object) -> bytes:
    return event({"choices": [{"delta": delta}]})


def last(message: dict[str, Any], finish: str = "stop") -> bytes:
    """Return the event that ends a stream with the whole message."""
    return choice(message={"role": "assistant"} | message, finish_reason=finish)


def call(name: str | None = None, arguments: object = None, **fields: object) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"function": {key: value for key, value in function.items() if value is not None}} | fields


def calls(*made: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": list(made)}


def asked(name: str, *deltas: bytes | dict[str, Any], right: tuple[ToolCall, ...] = (WEATHER,)) -> Shape:
    """Return a stream that asks for tool calls."""
    return shape(name, *deltas, right=Reply(calls=right), finish="tool_calls")


def failing(name: str, *parts: bytes | dict[str, Any], says: str = "The engine stopped.") -> Shape:
    """Return a stream that is no answer, though its HTTP status is 200 and it ends with the usual mark."""
    return shape(name, *parts, DONE, right=says, finish=None)


def body(name: str, value: object, right: Reply | str, content_type: str = JSON) -> Shape:
    """Return an answer that is no stream."""
    return Shape(name, value if isinstance(value, bytes) else json.dumps(value).encode(), right, content_type)


def lines(*parts: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"choices": [{"index": 0} | part]}).encode() + b"\n" for part in parts)


HELLO = Reply("Hello there")
HALVES = (text("Hello"), text(" there"))
WORDS = {"message": "The engine stopped."}
MESSAGE = {"role": "assistant", "content": "Hello there"}
FLAT = {"object": "error", "message": "The engine stopped.", "type": "InternalServerError", "param": None, "code": 500}
WHOLE = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": OSLO}}
PLAIN = shape("by the book", {"role": "assistant", "content": ""}, *HALVES, right=HELLO)
