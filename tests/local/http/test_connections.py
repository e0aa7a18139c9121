"""Clients that are slow, silent or too many: the others are answered as ever."""

import contextlib
import json
import socket
import threading
import time

import pytest
import requests

from gpt_agent_fsm.local.http.connections import HEADER_TIMEOUT, IDLE_TIMEOUT, REQUEST_TIMEOUT
from tests.local.responses.asking import in_thread

PATIENCE = 10.0
HALF_HEADERS = b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\n"
HALF_BODY = HALF_HEADERS + b"OpenAI-Beta: assistants=v2\r\nContent-Length: 10\r\n\r\n{"


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:

        def to(server, sent=b"", buffer=None):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(PATIENCE)
            if buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.connect(("127.0.0.1", server._http.port))
            connection.sendall(sent)
            return connection

        yield to


def until_closed(connection):
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def wait_until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline


def in_loop(server, action):
    """Call `action` on the OS thread that owns the connections."""
    done = threading.Event()
    server._http._listener.trigger.pull_trigger(lambda: (action(), done.set()))
    assert done.wait(PATIENCE)


def after(server, seconds):
    """Enforce the limits as if it were so many seconds later."""
    in_loop(server, lambda: server._http._listener.enforce_limits(time.monotonic() + seconds))


def channels_of(server):
    return list(server._http._listener.active_channels.values())


def has_begun(server):
    return any(channel.request is not None for channel in channels_of(server))


@pytest.mark.parametrize(
    ("sent", "limit", "part"), [(HALF_HEADERS, HEADER_TIMEOUT, "headers"), (HALF_BODY, REQUEST_TIMEOUT, "body")]
)
def test_a_request_that_does_not_arrive_in_time_is_a_408(api, connect, sent, limit, part):
    connection = connect(api.server, sent)
    wait_until(lambda: has_begun(api.server))
    after(api.server, limit - 5)
    assert has_begun(api.server)
    connection.sendall(b"x")  # trickling does not help
    after(api.server, limit + 5)
    head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].endswith(b" 408 Request Timeout")
    assert json.loads(body)["error"]["message"] == (
        f"Request Timeout: the {part} did not arrive within {limit:.0f} seconds"
    )


def test_the_server_finds_late_requests_by_itself(api, connect, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.http.connections.HEADER_TIMEOUT", 0.2)
    assert b" 408 " in until_closed(connect(api.server, HALF_HEADERS))


def test_the_time_of_a_request_that_waits_for_the_one_before_does_not_count(serve, waiting, connect):
    server = serve(waiting).server
    body = b'{"model": "m", "input": "x"}'
    head = b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection = connect(server, head + body + HALF_BODY)
    assert waiting.called.wait(PATIENCE)
    [channel] = channels_of(server)
    wait_until(lambda: channel.request is not None)
    began = channel.request.began
    after(server, REQUEST_TIMEOUT + 5)
    waiting.go.set()
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(lambda: channel.request.began > began)
    after(server, REQUEST_TIMEOUT - 5)
    connection.sendall(b" " * 8 + b"}")
    received = b""
    while b'"object":"thread"' not in received:
        received += connection.recv(65536)


def test_a_client_that_does_not_read_its_answer_is_hung_up_on_and_holds_no_os_thread_of_others(
    serve, connect, monkeypatch
):
    api = serve()
    listener = api.server._http._listener
    monkeypatch.setattr(listener.adj, "outbuf_high_watermark", 100_000)
    thread = api.thread(*["x" * 200_000] * 20)
    head = (
        f"GET /v1/threads/{thread}/messages?limit=100 HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n\r\n"
    )
    for _ in range(12):
        connect(api.server, head.encode() * 4, buffer=4096)
    # All of them wait for their clients.
    wait_until(lambda: api.server._http._dispatcher._wanted == 8 + 12)
    api.thread()
    # A small answer may be on its way, too.
    stalled = [channel for channel in channels_of(api.server) if channel.total_outbufs_len > 50_000]
    assert len(stalled) == 12

    def are_gone():
        # What the system still takes of an answer counts as an activity.
        for channel in stalled:
            channel.last_activity = min(channel.last_activity, time.time() - IDLE_TIMEOUT - 5)
        return api.server._http._dispatcher._wanted == 8

    wait_until(are_gone)
    assert not any(channel in channels_of(api.server) for channel in stalled)


def test_idle_connections_make_room_for_new_ones_and_those_that_have_sent_something_stay(serve, connect, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.http.listener.MAX_CONNECTIONS", 100)
    server = serve().server
    begun = [connect(server, HALF_BODY) for _ in range(20)]
    wait_until(lambda: sum(channel.request is not None for channel in channels_of(server)) == 20)
    idle = [connect(server) for _ in range(200)]
    root = server.base_url.removesuffix("/v1")
    assert requests.get(f"{root}/healthz", timeout=PATIENCE).ok
    for connection in begun:
        connection.sendall(b" " * 8 + b"}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert idle[0].recv(1) == b""


def test_health_is_answered_while_all_os_threads_are_busy(serve, monkeypatch):
    api = serve()
    busy, go = threading.Semaphore(0), threading.Event()

    def slow(_body):
        busy.release()
        go.wait(PATIENCE)
        return {}

    monkeypatch.setattr("gpt_agent_fsm.local.shared.validation.json_object", slow)
    results = [in_thread(lambda: api.post("/conversations")) for _ in range(8)]
    assert all(busy.acquire(timeout=PATIENCE) for _ in results)
    began = time.monotonic()
    assert requests.get(f"{api.server.base_url.removesuffix('/v1')}/healthz", timeout=PATIENCE).ok
    assert time.monotonic() - began < 3
    go.set()
    assert all(result()["object"] == "conversation" for result in results)


class Slow:
    """A model that answers at once, but streams for as long as it is listened to."""

    def __call__(self, _request):
        return "at once"

    def stream(self, request):
        yield "begun"
        while not request.cancelled.wait(0.1):
            yield "more"


def test_a_thousand_idle_or_trickling_connections_and_two_hundred_streams_keep_no_request_waiting(serve, connect):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4000:
        pytest.skip("this process may not open enough files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
    api = serve(Slow())
    body = b'{"model": "m", "input": "x", "stream": true}'
    head = b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    streams = [connect(api.server, head + body) for _ in range(200)]
    silent = [connect(api.server, b"" if number % 2 else HALF_HEADERS + b"X: ") for number in range(1000)]
    for stream in streams:
        while b"begun" not in stream.recv(65536):
            pass
    wait_until(lambda: len(channels_of(api.server)) >= 1200)
    waited = []
    for number in range(10):
        for connection in silent[::2]:
            connection.sendall(b"x")
        for ask in (
            lambda: requests.get(f"{api.server.base_url.removesuffix('/v1')}/healthz", timeout=PATIENCE).json(),
            api.thread,
            lambda: api.post("/responses", {"model": "m", "input": str(number)}),  # noqa: B023 - called at once
        ):
            began = time.monotonic()
            ask()
            waited.append(time.monotonic() - began)
    assert max(waited) < 3
    began = time.monotonic()
    api.server.close()
    assert time.monotonic() - began < 5
