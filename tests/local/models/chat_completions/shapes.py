"""Shapes in which servers are known to stream their answers, each with the answer that is right."""

from __future__ import annotations

from gpt_agent_fsm.local import Reply, ToolCall, Usage
from tests.local.chat_server import DONE, event, piece
from tests.local.models.chat_completions.questions import USAGE
from tests.local.models.chat_completions.shape_builders import (
    BOTH,
    EVENTS,
    JSON,
    OSLO,
    ROME,
    Shape,
    asked,
    body,
    call,
    calls,
    choice,
    failing,
    last,
    lines,
    shape,
    text,
)

HELLO = Reply("Hello there")
HALVES = (text("Hello"), text(" there"))
WORDS = {"message": "The engine stopped."}
MESSAGE = {"role": "assistant", "content": "Hello there"}
FLAT = {"object": "error", "message": "The engine stopped.", "type": "InternalServerError", "param": None, "code": 500}
PLAIN = shape("by the book", {"role": "assistant", "content": ""}, *HALVES, right=HELLO)
WHOLE = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": OSLO}}

TEXTS = [
    PLAIN,
    shape(
        "the last piece repeats everything", *HALVES, piece(text("Hello there"), "stop"), DONE, right=HELLO, finish=None
    ),
    shape("a piece after the end repeats everything", *HALVES, piece({}, "stop"), text("Hello there"), right=HELLO),
    shape(
        "the last piece has everything and more",
        *HALVES,
        piece(text("Hello there!"), "stop"),
        right=Reply("Hello there!"),
    ),
    shape("a word that comes twice", text("bye"), piece(text("bye"), "stop"), DONE, right=Reply("byebye"), finish=None),
    shape("the last message repeats everything", *HALVES, last(MESSAGE), right=HELLO, finish=None),
    shape(
        "the last message is trimmed",
        text(" Hello"),
        text(" there\n"),
        last(MESSAGE),
        right=Reply(" Hello there\n"),
        finish=None,
    ),
    shape("the last message has more than the pieces", text("Hello"), last(MESSAGE), right=HELLO, finish=None),
    shape("only the last message", {"role": "assistant"}, last(MESSAGE), right=HELLO, finish=None),
    shape(
        "an empty message beside each delta",
        choice(delta=text("Hello"), message=None),
        choice(delta=text(" there"), message={}),
        right=HELLO,
    ),
    shape(
        "the same message beside each delta",
        choice(delta=text("Hello"), message=text("Hello")),
        choice(delta=text(" there"), message=text(" there")),
        right=HELLO,
    ),
    shape(
        "the message so far beside each delta",
        choice(delta=text("Hello"), message=text("Hello")),
        choice(delta=text(" there"), message=text("Hello there")),
        right=HELLO,
    ),
    shape("messages in place of deltas", choice(message=text("Hello")), choice(message=text(" there")), right=HELLO),
    shape("messages with all so far", choice(message=text("Hello")), choice(message=text("Hello there")), right=HELLO),
    shape("the text of a choice", choice(text="Hello"), choice(text=" there"), right=HELLO),
    shape("content in parts", {"content": [{"type": "text", "text": "Hello there"}]}, right=HELLO),
    shape(
        "a second answer beside the first",
        *HALVES,
        event({"choices": [{"index": 1, "delta": text("No")}]}),
        right=HELLO,
    ),
    shape("no mark at the end", *HALVES, piece({}, "stop"), right=HELLO, finish=None),
    shape("no reason to finish", *HALVES, DONE, right=HELLO, finish=None),
    shape(
        "a whole answer as the only event",
        event({"object": "chat.completion", "choices": [{"message": MESSAGE}]}),
        right=HELLO,
        finish=None,
    ),
    shape(
        "another limit of length",
        *HALVES,
        right=Reply("Hello there", incomplete="max_completion_tokens"),
        finish="MAX_TOKENS",
    ),
    shape("another filter", *HALVES, right=Reply("Hello there", incomplete="content_filter"), finish="SAFETY"),
    shape(
        "a reason that is an object",
        *HALVES,
        choice(delta={}, finish_reason={"type": "length", "length": 2}),
        right=Reply("Hello there", incomplete="max_completion_tokens"),
        finish=None,
    ),
    shape(
        "reasoning in fields of its own",
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "thinking": "Hm."},
        *HALVES,
        right=HELLO,
    ),
    shape(
        "reasoning in parts",
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "reasoning", "text": "Hm."},
            ]
        },
        *HALVES,
        right=HELLO,
    ),
    shape("reasoning between tags", text("<think>\nHm."), text("\n</think>\n\n"), *HALVES, right=HELLO),
    shape("tags in pieces", *map(text, ("\n<th", "ink>H", "m.</thi", "nk>", "\n", "Hello", " there")), right=HELLO),
    shape("a tag that is none", text("<the"), text(" end>"), right=Reply("<the end>")),
    shape("the beginning of a tag is everything", text("<th"), right=Reply("<th")),
]

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
]

ERRORS = [
    failing("an error alone", event({"error": WORDS})),
    failing("an error as a text", event({"error": "The engine stopped."})),
    failing("a flat error alone", event(FLAT)),
    failing("a flat error after half an answer", text("Hello"), event(FLAT)),
    failing("a flat error without a type", text("Hello"), event({"message": "The engine stopped.", "code": 500})),
    failing("an error event", text("Hello"), b'event: error\ndata: {"message": "The engine stopped."}\n\n'),
    failing("an error event with plain words", text("Hello"), b"event: error\ndata: The engine stopped.\n\n"),
    failing("an error event without words", text("Hello"), b'event: error\ndata: {"code": 503}\n\n', says="503"),
    failing(
        "an error event without data of its own", text("Hello"), b"event: error\ndata: {}\n\n", says="without saying"
    ),
    failing("details", event({"detail": "The engine stopped."})),
    failing("a list of details", event({"detail": [{"loc": ["body"], "msg": "The engine stopped."}]})),
    failing("a list of errors", event([{"error": WORDS}])),
    failing("words under another name", event({"error_code": 336, "error_msg": "The engine stopped."})),
    failing("an error that is only a flag", event({"error": True, "message": "The engine stopped."})),
    failing("an error beside empty choices", event({"choices": [], "error": WORDS})),
    failing("an error in a choice", text("Hello"), choice(delta={}, error=WORDS)),
    failing("an error in a delta", text("Hello"), choice(delta={"error": WORDS})),
    failing(
        "an error of another service", text("Hello"), event({"choices": [], "x_groq": {"error": "The engine stopped."}})
    ),
    failing("an error after the reason to finish", *HALVES, piece({}, "stop"), event({"error": WORDS})),
    failing("an error as the reason to finish", text("Hello"), piece({}, "error"), says="the finish reason 'error'"),
    failing("an abort as the reason to finish", text("Hello"), piece({}, "abort"), says="the finish reason 'abort'"),
    failing(
        "an object with words as the reason to finish",
        text("Hello"),
        choice(delta={}, finish_reason={"type": "abort", "message": "The engine stopped."}),
    ),
    failing("an error of which nothing is said", text("Hello"), event({"error": {"code": 503}}), says="503"),
    failing("words that are no JSON", text("Hello"), b"data: {broken\n\n", says="it is not valid JSON"),
    shape("half an answer", text("Hello"), right="broke off", finish=None),
    shape(
        "an error that is none",
        *HALVES,
        event({"error": None, "choices": []}),
        event({"error": {"code": None}}),
        right=HELLO,
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
    body("a page", b"<html><body>Log in</body></html>", "is an HTML page", EVENTS),
]

SHAPES = [*TEXTS, *USAGES, *CALLS, *ERRORS, *FRAMES]
