"""A scripted model on loopback, for servers that keep conversations and leave the thinking to another server.

It speaks chat completions, in one piece or in a stream, and stateless responses. What it answers depends on nothing but
what it was shown, so a test can tell from the answer what the server between has passed on.

    with Upstream() as upstream:
        ...  # start the server under test with upstream.base_url
    assert upstream.shown[0] == (Shown("user", "Hello"),)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from attrs import frozen

MODEL = "m"
TOOL = "get_weather"
QUESTION = "How warm is it in "
"""A user text that begins with this, and names a city and a question mark, makes the model ask for the tool."""


@frozen
class Shown:
    """One thing that the model was shown: what the user or the assistant said, a call's arguments, or its output."""

    kind: str
    text: str


@frozen
class Wants:
    """What the model answers: a text, or a call of the tool."""

    text: str = ""
    arguments: str = ""


def think(shown: Sequence[Shown], *, may_call: bool) -> Wants:
    """Return the answer to what was shown, oldest first."""
    if not shown or shown[-1].kind in ("assistant", "call"):
        return Wants("Nobody has asked me anything.")
    last = shown[-1].text
    if shown[-1].kind == "output":
        city = json.loads(next(each.text for each in reversed(shown) if each.kind == "call"))["city"]
        return Wants(f"It is {json.loads(last)['celsius']} degrees in {city}.")
    if may_call and last.startswith(QUESTION):
        return Wants(arguments=json.dumps({"city": last.removeprefix(QUESTION).rstrip("?")}))
    return Wants(f"You have said: {' '.join(each.text for each in shown if each.kind == 'user')}")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def _shown_in_messages(messages: Sequence[dict[str, Any]]) -> Iterator[Shown]:
    """Read what chat completions are asked with."""
    for message in messages:
        text = _text(message.get("content"))
        if message["role"] == "tool":
            yield Shown("output", text)
        elif message["role"] in ("user", "assistant") and text:
            yield Shown(message["role"], text)
        for call in message.get("tool_calls") or ():
            yield Shown("call", call["function"]["arguments"])


def _shown_in_items(items: str | Sequence[dict[str, Any]]) -> Iterator[Shown]:
    """Read what responses are asked with."""
    if isinstance(items, str):
        yield Shown("user", items)
        return
    for item in items:
        if item.get("type") == "function_call":
            yield Shown("call", item["arguments"])
        elif item.get("type") == "function_call_output":
            yield Shown("output", _text(item["output"]))
        elif item.get("role") in ("user", "assistant"):
            yield Shown(item["role"], _text(item["content"]))


class Upstream:
    """The server. Close it, or use it in a `with` statement.

    Attributes:
        shown: what the model was shown with each request, in the order they came.
    """

    def __init__(self) -> None:
        self.shown: list[tuple[Shown, ...]] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"upstream": self}))
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self.base_url = f"{self.address}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def ask(self, shown: Iterator[Shown], *, may_call: bool) -> tuple[int, Wants]:
        """Return the number of the request, counted from 1, and the answer."""
        with self._lock:
            self.shown.append(tuple(shown))
            return len(self.shown), think(self.shown[-1], may_call=may_call)

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "test"}]}
        self._answer(200, models if self._resource == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._resource == "/v1/chat/completions":
            self._complete(body)
        elif self._resource == "/v1/responses":
            self._respond(body)
        else:
            self._answer(404, {"error": {"message": f"There is no {self.path} here."}})

    @property
    def _resource(self) -> str:
        return urlsplit(self.path).path

    def _complete(self, body: dict[str, Any]) -> None:
        number, wants = self.upstream.ask(_shown_in_messages(body["messages"]), may_call=bool(body.get("tools")))
        function = {"name": TOOL, "arguments": wants.arguments}
        calls = [{"index": 0, "id": f"call_{number}", "type": "function", "function": function}]
        said = {"role": "assistant"} | ({"content": wants.text} if wants.text else {"tool_calls": calls})
        finish = "stop" if wants.text else "tool_calls"
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        about = {"id": f"chatcmpl_{number}", "created": 1, "model": MODEL}
        if not body.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": finish}
            self._answer(200, about | {"object": "chat.completion", "choices": [choice], "usage": usage})
            return
        about["object"] = "chat.completion.chunk"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in (
            {"choices": [{"index": 0, "delta": said, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
            {"choices": [], "usage": usage},
        ):
            self.wfile.write(f"data: {json.dumps(about | piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _respond(self, body: dict[str, Any]) -> None:
        number, wants = self.upstream.ask(_shown_in_items(body["input"]), may_call=bool(body.get("tools")))
        if wants.text:
            content = [{"type": "output_text", "text": wants.text, "annotations": []}]
            item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}
        else:
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}"}
            item |= {"name": TOOL, "arguments": wants.arguments}
        self._answer(
            200,
            {
                "id": f"resp_{number}",
                "object": "response",
                "created_at": 1,
                "status": "completed",
                "model": MODEL,
                "output": [item | {"status": "completed"}],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": body.get("tools") or [],
                "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
            },
        )

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
