"""Bytes on the socket: badly behaved clients, and cleaning up after them."""

import json
import logging
import socket
import struct
import threading
import time

import pytest
import requests

from gpt_agent_fsm.local import LocalServer

PATIENCE = 10.0


@pytest.fixture
def connect(api):
    sockets = []

    def to_server():
        sockets.append(socket.create_connection(("127.0.0.1", api.server._http.port), timeout=PATIENCE))
        return sockets[-1]

    yield to_server
    for each in sockets:
        each.close()


def until_closed(connection):
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def channels_of(api):
    """Return the current connections of the server; its own OS threads change the original all the time."""
    return list(api.server._http._listener.active_channels.values())


def wait_until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"POST /v1/threads HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /v1/threads HTTP/1.1\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nX: ".ljust(262_144, b"x"), 431),
    ],
)
def test_invalid_http_gets_a_json_error_as_well(connect, sent, status):
    connection = connect()
    connection.sendall(sent)
    head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert b"application/json" in head
    assert json.loads(body)["error"]["type"] == ("server_error" if status >= 500 else "invalid_request_error")


def test_a_body_in_chunks_is_taken(connect):
    connection = connect()
    head = b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\nConnection: close\r\n"
    connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert until_closed(connection).startswith(b"HTTP/1.1 200")


def test_clients_that_hang_do_not_keep_the_server_from_closing(api, connect):
    silent, half, large = connect(), connect(), connect()
    half.sendall(b"POST /v1/threads HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
    large.sendall(b"POST /v1/threads HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + b" " * 1_000_000)
    wait_until(
        lambda: sum(each.request is not None and each.request.body_rcv is not None for each in channels_of(api)) == 2
    )
    began = time.monotonic()
    api.server.close()
    assert time.monotonic() - began < 2
    for connection in (silent, half):
        assert connection.recv(1) == b""


def test_a_client_that_does_not_read_its_answer_does_not_keep_the_server_from_closing(api, connect):
    thread = api.thread(*["x" * 200_000] * 20)
    connection = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (
        f"GET /v1/threads/{thread}/messages?limit=100 HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n\r\n"
    )
    connection.sendall(head.encode() * 10)
    wait_until(lambda: any(each.total_outbufs_len > 1_000_000 for each in channels_of(api)))
    began = time.monotonic()
    api.server.close()
    assert time.monotonic() - began < 2


def test_the_loop_leaves_a_connection_alone_while_an_os_thread_sends_on_it(api, connect):
    thread = api.thread(*["x" * 200_000] * 20)
    connection = connect()
    head = (
        f"GET /v1/threads/{thread}/messages?limit=100 HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n\r\n"
    )
    connection.sendall(head.encode() * 10)
    wait_until(lambda: any(each.total_outbufs_len > 1_000_000 and each.requests for each in channels_of(api)))
    [channel] = (each for each in channels_of(api) if each.requests)
    answers = []
    with channel.outbuf_lock:
        asking = threading.Thread(target=lambda: answers.append(channel.writable()))
        asking.start()
        asking.join(PATIENCE)
    assert answers == [False]
    wait_until(channel.writable)


def test_a_late_os_thread_does_not_touch_a_closed_pipe(api, monkeypatch):
    listener = api.server._http._listener
    pulled = []
    api.server.close()
    monkeypatch.setattr(listener.trigger, "pull_trigger", lambda: pulled.append("a closed pipe"))
    listener.pull_trigger()
    assert pulled == []


def test_a_wait_that_ends_after_the_close_starts_no_os_threads(api):
    dispatcher = api.server._http._dispatcher
    with dispatcher.waiting():
        assert len(dispatcher.threads) == 9
        api.server.close()
    assert dispatcher.threads == set()


def test_waits_share_the_os_threads_that_there_are_if_the_process_may_not_start_more(api, monkeypatch, caplog):
    dispatcher = api.server._http._dispatcher
    with monkeypatch.context() as patch:

        def start(_thread):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", start)
        with dispatcher.waiting():
            assert len(dispatcher.threads) == 8
            api.thread()
    assert "Requests have to wait: can't start new thread" in caplog.text
    assert [dispatcher._wanted, len(dispatcher.threads)] == [8, 8]
    with dispatcher.waiting():
        assert len(dispatcher.threads) == 9
    wait_until(lambda: len(dispatcher.threads) == 8)
    api.thread()


def test_an_answer_much_larger_than_a_socket_buffer_arrives_whole(api):
    texts = ["x" * 200_000] * 20
    thread = api.thread(*texts)
    assert api.texts(thread, limit=100) == texts


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_hangs_up_early_is_not_an_error(api, connect, caplog, abrupt):
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            connection = connect()
            connection.sendall(b"POST /v1/threads HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
            wait_until(lambda: any(each.request for each in channels_of(api)))
            if abrupt:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        wait_until(lambda: not channels_of(api))
        api.thread()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_more_clients_than_os_threads_are_served_without_a_warning(api, caplog):
    barrier = threading.Barrier(32)
    statuses = []

    def ask():
        barrier.wait(PATIENCE)
        url = f"{api.server.base_url}/threads"
        statuses.append(api.session.post(url, json={}, timeout=PATIENCE, headers={"Connection": "close"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert statuses == [200] * 32
    assert [record.name for record in caplog.records if record.name.startswith(("waitress", "gpt_agent_fsm"))] == []


def test_clients_that_wait_get_an_answer_when_the_server_closes():
    for _ in range(5):  # the answers must not race with the hang-up
        asked, answers = threading.Semaphore(0), []

        def model(request, asked=asked):
            asked.release()
            request.cancelled.wait(PATIENCE)
            return "too late"

        with LocalServer(model) as server:
            url, body = f"{server.base_url}/responses", {"model": "m", "input": "Hello"}
            clients = [
                threading.Thread(
                    target=lambda to=answers, url=url, body=body: to.append(
                        requests.post(url, json=body, timeout=PATIENCE)
                    )
                )
                for _ in range(8)
            ]
            for client in clients:
                client.start()
            assert all(asked.acquire(timeout=PATIENCE) for _ in clients)
        for client in clients:
            client.join(PATIENCE)
        assert [answer.status_code for answer in answers] == [503] * 8
        assert answers[0].json()["error"]["message"] == "The server is closing."
