"""Streams that end badly, and streams that pause."""

import socket
import struct

import pytest

from gpt_agent_fsm.local.http import streams
from tests.local.event_streams import names, response_stream, run_stream, until, wait_until
from tests.local.stand_ins import PATIENCE, Speaker, Waiting


def test_a_thread_that_is_deleted_ends_its_stream_with_an_error(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = run_stream(api, "Hi")
    run = until(stream, "thread.run.in_progress")
    api.delete(f"/threads/{run['thread_id']}")
    name, data = list(stream)[-1]
    assert (name, data["error"]["message"]) == ("error", f"No run found with id '{run['id']}'.")


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_server_that_closes_ends_its_streams_with_an_error(serve, gate, ask):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = ask(api, "Hi")
    next(stream)
    assert gate.reached.wait(PATIENCE)
    workers = api.server._workers
    workers.close(0.0)
    name, data = list(stream)[-1]
    assert (name, data.get("error", data)["message"]) == ("error", "The server is closing.")


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_database_that_is_closed_ends_streams_with_an_error(serve, gate, ask):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = ask(api, "Hi")
    next(stream)
    assert gate.reached.wait(PATIENCE)
    api.server._storage.close()
    api.server._workers.close(0.0)
    name, data = list(stream)[-1]
    assert (name, data.get("error", data)["message"]) == ("error", "The server is closing.")


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_hangs_up_does_not_affect_the_run_and_releases_its_os_thread(serve, gate, monkeypatch, abrupt):
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    api = serve(Speaker("Hel", gate, "lo"))
    thread = api.thread("Hi")
    body = b'{"assistant_id": "asst_1", "stream": true}'
    connection = socket.create_connection(("127.0.0.1", api.server._http.port), timeout=PATIENCE)
    head = f"POST /v1/threads/{thread}/runs HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert gate.reached.wait(PATIENCE)
    dispatcher = api.server._http._dispatcher
    wait_until(lambda: len(dispatcher.threads) == 9)
    if abrupt:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_until(lambda: len(dispatcher.threads) == 8)
    gate.open()
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    api.see(run, "completed")
    assert api.texts(thread) == ["Hi", "Hello"]


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_stream_without_events_keeps_its_connection_busy(serve, monkeypatch, ask):
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    paused = []
    encode = streams.encode
    monkeypatch.setattr(streams, "_COMMENT", b": a pause\n\n")
    model = Waiting(heeds_cancel=False)
    api = serve(model)
    lines = []

    def told(name, data):
        paused.append(name)
        return encode(name, data)

    monkeypatch.setattr(streams, "encode", told)
    if ask is run_stream:
        path, body = "/threads/runs", {"assistant_id": "asst_1", "stream": True}
    else:
        path, body = "/responses", {"model": "m", "input": "x", "stream": True}
    with api.session.post(api.server.base_url + path, json=body, stream=True, timeout=PATIENCE) as response:
        for line in response.iter_lines(chunk_size=1):
            lines.append(line)
            if lines.count(b": a pause") == 3:
                model.go.set()
    assert paused[-1] in ("done", "response.completed")


def test_streams_do_not_block_other_requests(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    opened = [run_stream(api, str(number)) for number in range(12)]
    for stream in opened:
        until(stream, "thread.message.delta")
    api.thread()
    gate.open()
    assert [names(stream)[-1] for stream in opened] == ["done"] * 12


def test_a_refusal_is_a_json_error_and_not_a_stream(api):
    body = {"assistant_id": "asst_1", "stream": True}
    assert api.error("POST", "/threads/thread_x/runs", 404, json=body)["message"].startswith("No thread found")
    assert api.error("POST", "/responses", 400, json={"stream": True})["param"] == "model"
    assert api.error("POST", "/responses", 400, json={"model": "m", "input": "x", "stream": 7})["param"] == "stream"
    assert api.error("POST", "/conversations", 400, json={"stream": True})["param"] == "stream"
