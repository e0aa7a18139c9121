"""A chat-completions server on loopback that plays a script, for tests of clients of such a server.

with ChatServer(fail(429, "Rate limit reached", Retry_After="0"), say("Hello.")) as server:
    ...  # ask server.base_url twice
assert server.requests[0].body["messages"] == [...]
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from attrs import field, frozen

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


class Pause:
    """An action of the server during its answer, other than sending bytes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


SILENCE = Pause("SILENCE")
"""Send nothing more, and wait until the client hangs up."""

HANG_UP = Pause("HANG_UP")
"""Hang up on the client."""

Part = bytes | Pause | Callable[[], object]
"""Bytes to send, or an action before the next ones: a `Pause`, or any callable."""


@frozen
class Answer:
    """An answer of the server. A body that is a list of parts is sent part by part, in chunks unless told otherwise."""

    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes | Sequence[Part] = b""
    chunked: bool = True


@frozen
class Asked:
    """A request as it came; `body` is its JSON."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    """Answer with JSON, or with bytes as they are; `Retry_After="1"` is a header."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {"Content-Type": "application/json"} | _headers(headers), content)


def completion(message: dict[str, Any], finish: str | None = "stop", **fields: object) -> Answer:
    """Answer in one piece; `fields` such as `usage` stand beside the choices."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return answer({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]} | fields)


def say(text: str, **fields: object) -> Answer:
    """Answer with a text in one piece."""
    return completion({"content": text}, **fields)


def call(*functions: dict[str, Any], **fields: object) -> Answer:
    """Ask for calls of functions, each such as `{"name": "add", "arguments": "{}"}`."""
    calls = [
        {"id": f"call_{number}", "type": "function", "function": function} for number, function in enumerate(functions)
    ]
    return completion({"content": None, "tool_calls": calls}, "tool_calls", **fields)


def fail(status: int, message: str, code: object = None, kind: str | None = None, **headers: str) -> Answer:
    """Answer with an error in the form of OpenAI's service."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return answer({"error": error}, status, **headers)


def event(value: object) -> bytes:
    """Return a server-sent event as bytes."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def piece(delta: dict[str, Any], finish: str | None = None, **fields: object) -> bytes:
    """Return the event with a piece of an answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"object": "chat.completion.chunk", "choices": [choice]} | fields)


DONE = b"data: [DONE]\n\n"


def stream(*parts: Part | str | dict[str, Any], finish: str | None = "stop", chunked: bool = True) -> Answer:
    """Answer piece by piece, each a text, a delta or a part; the end is added unless `finish` is None."""
    sent: list[Part] = []
    for part in parts:
        delta = {"content": part} if isinstance(part, str) else part
        sent.append(piece(delta) if isinstance(delta, dict) else delta)
    if finish is not None:
        sent += [piece({}, finish), DONE]
    return Answer(headers={"Content-Type": "text/event-stream"}, body=sent, chunked=chunked)


class ChatServer:
    """Answers each request with the next line of its script, and an error once the script is over.

    Attributes:
        requests: the requests, in the order they came.
        arrived: one permit for each request that came.
        hung_up: one permit for each client that hung up during an answer.
        connections: how many connections were made.
    """

    def __init__(self, *script: Answer | Pause, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Asked] = []
        self.arrived = threading.Semaphore(0)
        self.hung_up = threading.Semaphore(0)
        self.connections = 0
        self._script = iter(script)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"owner": self}))
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.base_url = f"http{'s' * (tls is not None)}://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def next_answer(self, asked: Asked) -> Answer | Pause:
        with self._lock:
            self.requests.append(asked)
            due = next(self._script, fail(500, "The script of the test is over."))
        self.arrived.release()
        return due

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.append(connection)

    def close(self) -> None:
        """Hang up on everybody and stop."""
        self._http.shutdown()
        self._thread.join(PATIENCE)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    owner: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.owner.connected(self.connection)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.owner.hung_up.release()

    def log_message(self, *_args: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        due = self.owner.next_answer(Asked(self.path, dict(self.headers.items()), json.loads(body)))
        if isinstance(due, Pause):
            self._pause(due)
            return
        parts = [due.body] if isinstance(due.body, bytes) else due.body
        self.send_response(due.status)
        for name, value in due.headers.items():
            self.send_header(name, value)
        if isinstance(due.body, bytes):
            self.send_header("Content-Length", str(len(due.body)))
        elif due.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self._send(parts, chunked=due.chunked and not isinstance(due.body, bytes))

    def _send(self, parts: Sequence[Part], *, chunked: bool) -> None:
        for part in parts:
            if isinstance(part, Pause):
                self._pause(part)
                return
            if isinstance(part, bytes):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            else:
                part()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _pause(self, pause: Pause) -> None:
        self.close_connection = True
        if pause is SILENCE:
            self.connection.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionError):
                if self.connection.recv(1):
                    return  # it sent something more, which no client here does
            self.owner.hung_up.release()
