"""Shapes in which servers are known to stream their answers, each with the answer that is right."""

from __future__ import annotations

from gpt_agent_fsm.local import Reply, ToolCall, Usage
from tests.local.chat_server import DONE, event, piece
from tests.local.models.chat_completions.error_shapes import ERRORS, NO_ERRORS
from tests.local.models.chat_completions.questions import USAGE
from tests.local.models.chat_completions.shape_builders import (
    BOTH,
    EVENTS,
    FLAT,
    HALVES,
    HELLO,
    JSON,
    MESSAGE,
    OSLO,
    PLAIN,
    ROME,
    WEATHER,
    WHOLE,
    WORDS,
    Shape,
    asked,
    body,
    call,
    calls,
    choice,
    last,
    lines,
    shape,
    text,
)
from tests.local.models.chat_completions.text_shapes import TEXTS

USAGES = [
    shape(
        "usage at the end",
        *HALVES,
        piece({}, "stop"),
        event({"choices": [], "usage": USAGE}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape(
        "usage at the beginning",
        event({"choices": [], "usage": USAGE}),
        *HALVES,
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape("usage in a choice", *HALVES, choice(delta={}, usage=USAGE), right=Reply("Hello there", usage=Usage(7, 2))),
    shape(
        "usage of another service",
        *HALVES,
        event({"x_groq": {"usage": USAGE}}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape(
        "usage with each piece, zeros at the end",
        piece(text("Hello"), usage=USAGE | {"completion_tokens": 1}),
        piece(text(" there"), usage=USAGE),
        event({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape(
        "usage with other names",
        *HALVES,
        event({"usage": {"input_tokens": 7, "output_tokens": 2}}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape("usage in a delta", *HALVES, {"usage": USAGE}, right=Reply("Hello there", usage=Usage(7, 2))),
    shape("usage in the last message", last(MESSAGE | {"usage": USAGE}), right=Reply("Hello there", usage=Usage(7, 2))),
    shape(
        "usage in floats",
        *HALVES,
        event({"usage": {"prompt_tokens": 7.0, "completion_tokens": 2.0}}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape(
        "usage in texts",
        *HALVES,
        event({"usage": {"prompt_tokens": "7", "completion_tokens": "2"}}),
        right=Reply("Hello there", usage=Usage(7, 2)),
    ),
    shape(
        "usage that is no number",
        *HALVES,
        event({"usage": {"prompt_tokens": 7.5, "completion_tokens": "two"}}),
        right=HELLO,
    ),
]

CALLS = [
    asked(
        "arguments in pieces",
        calls(call("get_weather", "", index=0, id="a")),
        calls(call(None, OSLO[:9], index=0)),
        calls(call(None, OSLO[9:], index=0)),
    ),
    asked(
        "the last message repeats the calls",
        calls(call("get_weather", OSLO, index=0, id="a")),
        last(calls(WHOLE), "tool_calls"),
    ),
    asked(
        "the last message repeats the calls with other ids",
        calls(call("get_weather", OSLO, index=0, id="b")),
        last(calls(WHOLE), "tool_calls"),
    ),
    asked(
        "the last message has a call that was begun",
        calls(call("get_weather", OSLO[:5], index=0, id="a")),
        last(calls(WHOLE), "tool_calls"),
    ),
    asked("the last piece repeats the calls", *[calls(call("get_weather", OSLO, index=0, id="a"))] * 2),
    asked(
        "arguments so far in each piece",
        calls(call("get_weather", OSLO[:9], index=0, id="a")),
        calls(call(None, OSLO, index=0)),
    ),
    asked(
        "a name that comes late",
        calls(call(None, OSLO[:9], index=0, id="a")),
        calls(call("get_weather", OSLO[9:], index=0)),
    ),
    asked(
        "a name in parts",
        calls(call("get_", "", index=0, id="a")),
        calls(call("weather", "", index=0)),
        calls(call(None, OSLO, index=0)),
    ),
    asked(
        "a name in parts without an index", calls(call("get_", "")), calls(call("weather", "")), calls(call(None, OSLO))
    ),
    asked(
        "a name with each piece",
        calls(call("get_weather", OSLO[:9], index=0)),
        calls(call("get_weather", OSLO[9:], index=0)),
    ),
    asked("an id that comes late", calls(call("get_weather", "", index=0)), calls(call(None, OSLO, index=0, id="a"))),
    asked(
        "an empty object before the arguments",
        calls(call("get_weather", {}, index=0, id="a")),
        calls(call(None, OSLO[:9], index=0)),
        calls(call(None, OSLO[9:], index=0)),
    ),
    asked(
        "arguments as an object",
        calls(call("get_weather", {"city": "Oslo"}, index=0)),
        right=(ToolCall("get_weather", '{"city":"Oslo"}'),),
    ),
    asked("no arguments", calls(call("ping", None, index=0, id="a")), right=(ToolCall("ping", "{}"),)),
    asked(
        "the only call has the index 1",
        calls(call("get_weather", "", index=1, id="a")),
        calls(call(None, OSLO, index=1, id=None)),
    ),
    asked(
        "an index that is missing at first", calls(call("get_weather", "", id="a")), calls(call(None, OSLO, index=0))
    ),
    asked(
        "all have the index 0",
        calls(call("get_weather", OSLO, index=0, id="a")),
        calls(call("get_weather", ROME, index=0, id="b")),
        right=BOTH,
    ),
    asked(
        "all have the index 0 and an empty id",
        calls(call("get_weather", OSLO, index=0, id="")),
        calls(call("get_weather", ROME, index=0, id="")),
        right=BOTH,
    ),
    asked(
        "all have the index 0 in one piece",
        calls(call("get_weather", OSLO, index=0), call("get_weather", ROME, index=0)),
        right=BOTH,
    ),
    asked("neither index nor id", calls(call("get_weather", OSLO)), calls(call("get_weather", ROME)), right=BOTH),
    asked(
        "all have the index 0 and arguments in pieces",
        calls(call("get_weather", OSLO[:9], index=0, id="a")),
        calls(call(None, OSLO[9:], index=0)),
        calls(call("get_weather", ROME[:9], index=0, id="b")),
        calls(call(None, ROME[9:], index=0)),
        right=BOTH,
    ),
    asked(
        "two tools without arguments have the index 0",
        calls(call("ping", "", index=0)),
        calls(call("get_time", "", index=0)),
        right=(ToolCall("ping", "{}"), ToolCall("get_time", "{}")),
    ),
    asked(
        "one tool twice without arguments in one piece",
        calls(call("ping", "", index=0), call("ping", "", index=0)),
        right=(ToolCall("ping", "{}"), ToolCall("ping", "{}")),
    ),
    asked("an entry that is empty", calls(call("get_weather", OSLO, index=0, id="a"), {"index": 1})),
    asked(
        "the one call of older servers",
        {"function_call": {"name": "get_weather", "arguments": ""}},
        {"function_call": {"arguments": OSLO}},
    ),
    asked("a call that is not in a list", {"tool_calls": call("get_weather", OSLO, index=0, id="a")}),
    asked("a call without its inner object", calls({"index": 0, "name": "get_weather", "arguments": OSLO})),
    asked(
        "the last message continues a call without its name",
        calls(call("get_weather", OSLO[:9], index=0, id="a")),
        last(calls(call(None, OSLO[9:], index=0)), "tool_calls"),
    ),
    asked("reasoning without an end before a call", text("<think>Hm."), calls(call("get_weather", OSLO, index=0))),
    asked(
        "a number that JSON does not have",
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"ping","arguments":{"n":NaN}}}]}}]}\n\n',
        right=(ToolCall("ping", '{"n":NaN}'),),
    ),
    asked(
        "two calls of one tool without ids, the first one without values",
        calls(call("get_weather", "{}")),
        calls(call("get_weather", OSLO[:9])),
        calls(call("get_weather", OSLO[9:])),
        right=(ToolCall("get_weather", "{}"), WEATHER),
    ),
    asked(
        "two calls of one tool without ids, the first one empty and in pieces",
        calls(call("get_weather", "{")),
        calls(call(None, "}")),
        calls(call("get_weather", OSLO)),
        right=(ToolCall("get_weather", "{}"), WEATHER),
    ),
    asked(
        "two calls of one tool with the index 0, the first one without values",
        calls(call("get_weather", "{}", index=0)),
        calls(call("get_weather", OSLO, index=0)),
        right=(ToolCall("get_weather", "{}"), WEATHER),
    ),
    asked(
        "two calls of one tool without ids, the second one without arguments",
        calls(call("get_weather", OSLO)),
        calls(call("get_weather", "")),
        right=(WEATHER, ToolCall("get_weather", "{}")),
    ),
    asked(
        "two calls of one tool without ids and arguments",
        calls(call("ping", "")),
        calls(call("ping", "")),
        right=(ToolCall("ping", "{}"), ToolCall("ping", "{}")),
    ),
    asked(
        "a name with each piece and nothing in the last one",
        calls(call("get_weather", OSLO[:9])),
        calls(call("get_weather", OSLO[9:])),
        calls(call("get_weather", "")),
    ),
    asked(
        "ids that come with the last piece of each call",
        calls(call("get_weather", "", index=0, id="a")),
        calls(call("get_weather", OSLO[:9], index=0)),
        calls(call("get_weather", OSLO[9:], index=0, id="b")),
        right=(ToolCall("get_weather", "{}"), WEATHER),
    ),
    asked(
        "an id for each piece of a call",
        calls(call("get_weather", OSLO[:9], index=0, id="a")),
        calls(call("get_weather", OSLO[9:], index=0, id="b")),
    ),
    asked(
        "an id with the first piece and a name with each",
        calls(call("get_weather", "", index=0, id="a")),
        calls(call("get_weather", OSLO[:9], index=0)),
        calls(call("get_weather", OSLO[9:], index=0)),
    ),
    asked(
        "the later call comes first and the last message repeats both",
        calls(call("get_weather", "", index=1, id="b")),
        calls(call("get_weather", OSLO, index=0, id="a")),
        last(calls(WHOLE, WHOLE | {"id": "b", "function": {"name": "get_weather", "arguments": ""}}), "tool_calls"),
        right=(WEATHER, ToolCall("get_weather", "{}")),
    ),
    asked(
        "the later call comes first and the last message repeats both with other ids",
        calls(call("get_weather", ROME, index=1, id="b")),
        calls(call("get_weather", "", index=0, id="a")),
        last(calls(WHOLE | {"id": "c"}, WHOLE | {"id": "d", "function": {"name": "get_weather", "arguments": ROME}})),
        right=BOTH,
    ),
]

FRAMES = [
    Shape("empty data and comments", b": hello\n\ndata:\n\ndata: \n\n:\n\n" + PLAIN.sent + b"\n\n:bye", HELLO),
    Shape("keys and names of events", PLAIN.sent.replace(b"data:", b"event: message\nid: 1\nretry: 10\ndata:"), HELLO),
    Shape("no blanks after the colons", PLAIN.sent.replace(b"data: ", b"data:"), HELLO),
    Shape("lines that end as on Windows", PLAIN.sent.replace(b"\n", b"\r\n"), HELLO),
    Shape("lines that end as on old machines", PLAIN.sent.replace(b"\n", b"\r"), HELLO),
    Shape("lines that end in two ways", PLAIN.sent.replace(b"\n\n", b"\n\r\n"), HELLO),
    Shape("no empty lines between the events", PLAIN.sent.replace(b"\n\n", b"\n"), HELLO),
    Shape("data on several lines", PLAIN.sent.replace(b'{"index"', b'\ndata: {"index"'), HELLO),
    Shape("a byte order mark", b"\xef\xbb\xbf" + PLAIN.sent, HELLO),
    Shape(
        "pings", b'event: ping\ndata: {"type": "ping", "message": "Still here."}\n\ndata: null\n\n' + PLAIN.sent, HELLO
    ),
    Shape("another mark at the end", PLAIN.sent.replace(DONE, b'data: "[done]"\n\n'), HELLO),
    Shape("events as plain text", PLAIN.sent, HELLO, "text/plain"),
    Shape("events as JSON", b"\n" + PLAIN.sent, HELLO, JSON),
    Shape("events of no type", PLAIN.sent, HELLO, ""),
    body("one piece of JSON", {"choices": [{"message": MESSAGE, "finish_reason": "stop"}]}, HELLO),
    body("one piece of JSON as events", {"choices": [{"message": MESSAGE, "finish_reason": "stop"}]}, HELLO, EVENTS),
    body(
        "lines of JSON",
        lines({"delta": HALVES[0]}, {"delta": HALVES[1]}, {"delta": {}, "finish_reason": "stop"}),
        HELLO,
    ),
    body("an error as JSON", {"error": WORDS}, "The engine stopped."),
    body("a flat error as JSON", FLAT, "The engine stopped."),
    body("an error as JSON and events", FLAT, "The engine stopped.", EVENTS),
    body("a list with an error", [{"error": WORDS}], "The engine stopped."),
    body(
        "JSON that ends badly",
        {"choices": [{"message": MESSAGE, "finish_reason": "error"}]},
        "the finish reason 'error'",
    ),
    body("lines of JSON without an end", lines({"delta": HALVES[0]}, {"delta": HALVES[1]}), "broke off"),
    body(
        "reasoning that the template of the model has opened",
        {"choices": [{"message": {"content": "Hm.\n</think>\n\nHello there"}, "finish_reason": "stop"}]},
        HELLO,
    ),
    body("a page", b"<html><body>Log in</body></html>", "is an HTML page", EVENTS),
]

SHAPES = [*TEXTS, *USAGES, *CALLS, *ERRORS, *NO_ERRORS, *FRAMES]
