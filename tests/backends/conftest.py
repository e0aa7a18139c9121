"""A backend without an environment, and servers that answer bytes."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.errors import ApiError
from gpt_agent_fsm.ports import RunRequest

BASE_URL = "http://api.test/v1"
RUN = {"id": "run_1", "object": "thread.run", "thread_id": "t", "status": "queued"}
KEY = "sk-a-secret-key"
PATIENCE = 60.0
VARIABLES = (
    *(
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_new() -> Iterator[Callable[..., AssistantsBackend]]:
    """Make backends which are closed at the end of the test."""
    made = []

    def build(base_url: str | None = BASE_URL, api_key: str | None = KEY, **kwargs: Any) -> AssistantsBackend:
        made.append(AssistantsBackend(base_url, api_key, **kwargs))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture
def make(make_new) -> Callable[..., AssistantsBackend]:
    """Make backends which have sent nothing yet."""
    return make_new


@pytest.fixture
def make_open(make_new) -> Callable[..., AssistantsBackend]:
    """Make backends that have already sent a GET and a POST to their server, if this is a `RawServer`.

    The server answers them itself, and records only their connection.
    """

    def build(base_url: str, *args: Any, **kwargs: Any) -> AssistantsBackend:
        made = make_new(base_url, *args, **kwargs)
        if urlsplit(base_url).port in RawServer.listening:
            with contextlib.suppress(ApiError):
                made.get_run("opening", "r", timeout=PATIENCE)
                made.create_run(RunRequest(thread_id="opening", assistant_id="a", key="k"), timeout=PATIENCE)
        return made

    return build


@pytest.fixture
def backend(make) -> AssistantsBackend:
    return make()


class RawServer:
    """Reads requests and lets `answer(connection, request)` write bytes; if it returns False, hangs up.

    Attributes:
        requests: the requests as bytes, in the order they came.
        connections: how many clients connected.
        stopping: set when the test is over.
        hung_up: one permit for each client that closed its connection.
        listening: the ports of all servers that run now.
    """

    listening: ClassVar[set[int]] = set()

    def __init__(self, answer: Callable[[socket.socket, bytes], object]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self.hung_up = threading.Semaphore(0)
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listening.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.listening.add(self.port)
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                if self.stopping.is_set():
                    connection.close()
                    return
                self.connections += 1
                connection.settimeout(PATIENCE)
                self._open.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while request := self.read(connection):
                if self.opens(connection, request):
                    continue
                self.requests.append(request)
                if self._answer(connection, request) is False:
                    return
            self.hung_up.release()

    @staticmethod
    def opens(connection: socket.socket, request: bytes) -> bool:
        """Answer a request of `make_open`. Return whether it was one."""
        opens = b"/threads/opening/" in request.partition(b"\r\n")[0]
        if opens:
            connection.sendall(http(RUN | {"thread_id": "opening"}))
        return opens

    @staticmethod
    def read(connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (chunk := connection.recv(65536)):
                return received
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def trickle(self, connection: socket.socket, piece: bytes) -> None:
        """Send `piece` again and again until the test is over or the client is gone."""
        while not self.stopping.wait(0.02):
            connection.sendall(piece)

    def close(self) -> None:
        self.stopping.set()
        self.listening.discard(self.port)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
            pass  # wakes the OS thread that accepts
        self._threads[0].join(PATIENCE)
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)


def http(body: object = b"", status: int = 200, **headers: str) -> bytes:
    """Return an answer as bytes; a body other than bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + content


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """Start servers that answer each request with some bytes, or as a callable does."""
    servers = []

    def start(answer: bytes | Callable[[socket.socket, bytes], object]) -> RawServer:
        servers.append(RawServer(answer if callable(answer) else lambda connection, _: connection.sendall(answer)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def free_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    """A certificate for localhost that signs itself, with its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out", path, "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    if b"BEGIN CERTIFICATE" not in path.read_bytes() or b"PRIVATE KEY" not in path.read_bytes():
        pytest.skip("this openssl does not write both into one file")
    return path


@pytest.fixture
def tls(certificate) -> ssl.SSLContext:
    """The context for a TLS server at localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def respond(serve):
    """Start a server that answers the request for a stream with bytes, and the others as these wires need it."""

    def start(streamed, then=lambda connection, request: None, other=None):
        def handle(connection, request):
            line = request.split(b"\r\n", 1)[0]
            if b'"stream":true' in request or b"stream=true" in line:
                connection.sendall(streamed(request) if callable(streamed) else streamed)
                return then(connection, request)
            body = {"id": "t", "metadata": {}} if b"/conversations" in line else other or RUN
            connection.sendall(http(body))
            return None

        return serve(handle)

    return start
