"""Shapes of errors within an answer of HTTP 200, and shapes that look like errors."""

from __future__ import annotations

from tests.local.chat_server import DONE, event, piece
from tests.local.models.chat_completions.shape_builders import (
    FLAT,
    HALVES,
    HELLO,
    WORDS,
    choice,
    failing,
    shape,
    text,
)

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
    *[
        failing(f"an error in {place}", text("Hello"), event(said))
        for place, said in {
            "the response": {"type": "response.failed", "response": {"error": WORDS}},
            "the data": {"data": {"error": WORDS}},
            "the usage": {"choices": [], "usage": {"error": "The engine stopped."}},
            "another object": {"choices": [], "base_resp": {"status_code": 1004, "status_msg": "The engine stopped."}},
            "a fault": {"fault": {"faultstring": "The engine stopped."}},
            "an exception": {"exception": "The engine stopped."},
            "a problem": {"title": "The engine stopped.", "status": 500},
            "a code": {"code": 500, "reason": "The engine stopped."},
            "a denial": {"success": False, "reason": "The engine stopped."},
            "the second choice": {"choices": [{"index": 1}, {"index": 0, "error": WORDS}]},
            "errors beside a choice": {"choices": [{"index": 0, "delta": {}}], "errors": [WORDS]},
            "details beside a choice": {"choices": [{"index": 0, "delta": {}}], "detail": "The engine stopped."},
            "a list in a list": [[{"error": WORDS}]],
            "a text": "Error: The engine stopped.",
            "a field with a short name": {"err": {"msg": "The engine stopped."}},
            "a flag": {"is_error": True, "message": "The engine stopped."},
        }.items()
    ],
    *[
        failing(f"an event named {name}", text("Hello"), b"event: " + name.encode() + b"\ndata: " + data + b"\n\n")
        for name, data in {
            "exception": b'{"message": "The engine stopped."}',
            "Error": b'{"message": "The engine stopped."}',
            "server_error": b'{"reason": "The engine stopped."}',
            "ERROR": b"The engine stopped.",
            "response.failed": b'{"response": {"error": {"message": "The engine stopped."}}}',
        }.items()
    ],
    failing(
        "a limit of another service",
        text("Hello"),
        event({"Message": "The engine stopped.", "__type": "ThrottlingException"}),
        says="Rate limit reached: The engine stopped.",
    ),
    failing("a field named error", text("Hello"), b'error: {"code": 500, "message": "The engine stopped."}\n\n'),
    failing("a line without its field", text("Hello"), b'{"error": {"message": "The engine stopped."}}\n'),
    failing("lines without their field", text("Hello"), b'{\n"error": {\n"message": "The engine stopped."\n}\n}\n\n'),
    failing("a number as an error", text("Hello"), event({"error": 503}), says="503"),
    failing("a flag without words", text("Hello"), event({"error": True}), says="without saying which"),
    failing("plain words in the place of an event", text("Hello"), b"data: The engine stopped.\n\n"),
    failing("words in brackets", text("Hello"), b"data: [ERROR] The engine stopped.\n\n"),
    failing("plain words", text("Hello"), b"Internal Server Error: The engine stopped.\n"),
    failing(
        "a page after half an answer",
        text("Hello"),
        b"<html>The engine stopped.</html>\n",
        says="broke off; the server also said: <html>",
    ),
    failing("something unknown and no reason to finish", text("Hello"), event({"note": "The engine stopped."})),
    shape(
        "a line without its field at the end",
        text("Hello"),
        b'{"error": {"message": "The engine stopped."}}',
        right="The engine stopped.",
        finish=None,
    ),
]

NO_ERRORS = [
    shape(f"no error but {name}", event(first), *HALVES, piece({}, "stop"), event(then), right=HELLO)
    for name, first, then in [
        ("a code of success", {"code": 200, "msg": "ok"}, {"code": 0, "message": "Success", "choices": []}),
        ("an empty error", {"error": {"code": 0, "message": ""}, "status": "ok"}, {"errors": [], "error": "none"}),
        ("good results", {"success": True, "message": "Go."}, {"base_resp": {"status_code": 0, "status_msg": ""}}),
        ("something unknown", {"note": "Hm."}, {"object": "chat.completion.chunk", "citations": [{"title": "Failed"}]}),
        (
            "the failure of a filter",
            {"choices": [], "prompt_filter_results": [{"error": WORDS}]},
            {"choices": [{"index": 0, "delta": {}, "content_filter_results": {"error": WORDS}}]},
        ),
    ]
] + [
    shape(
        "no error but a field unknown to the specification", b"retries: 3\n", *HALVES, DONE, right=HELLO, finish=None
    ),
    shape(
        "no error and no reason to finish", event({"code": 200, "msg": "ok"}), *HALVES, DONE, right=HELLO, finish=None
    ),
]
