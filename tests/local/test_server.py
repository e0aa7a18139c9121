"""Starting, closing and restarting `LocalServer`."""

import contextlib
import gc
import json
import socket
import sqlite3
import threading
import time
import weakref

import pytest
import requests
import sqlalchemy.exc

from gpt_agent_fsm.local import DatabaseInUseError, LocalServer, ScriptedModel, ToolCall
from gpt_agent_fsm.local.http.listener import HttpServer
from gpt_agent_fsm.local.shared.storage import StorageClosedError
from tests.local.conftest import BETA
from tests.local.responses.asking import in_thread

PATIENCE = 10.0


@contextlib.contextmanager
def locked(path):
    """Lock the file as another program would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def wait_until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline


def threads_of(action):
    before = set(threading.enumerate())
    result = action()
    return result, [thread for thread in threading.enumerate() if thread not in before]


def refused(error, **options):
    with pytest.raises(error):
        LocalServer(**options)


def gone(threads):
    for thread in threads:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in threads)


def test_it_answers_as_soon_as_it_is_constructed_and_not_after_it_was_closed():
    server = LocalServer()
    assert server.base_url.startswith("http://127.0.0.1:")
    assert server.base_url.endswith("/v1")
    assert repr(server) == f"<LocalServer {server.base_url}>"
    root = server.base_url.removesuffix("/v1")
    assert requests.get(f"{root}/healthz", timeout=PATIENCE).ok
    server.close()
    assert repr(server) == f"<LocalServer {server.base_url} closed>"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{root}/healthz", timeout=PATIENCE)


def test_leaving_the_block_closes_the_server_and_close_is_idempotent():
    with LocalServer() as server:
        port = server._http.port
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def test_many_os_threads_may_close_the_server_at_once():
    server = LocalServer()
    threads = [threading.Thread(target=server.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert gone(threads)


def test_all_its_os_threads_are_daemons_and_end_with_it():
    server, threads = threads_of(LocalServer)
    assert threads
    assert all(thread.daemon for thread in threads)
    server.close()
    assert gone(threads)


def test_a_closed_server_leaves_nothing_behind():
    server = LocalServer()
    server.close()
    reference = weakref.ref(server)
    del server
    gc.collect()
    assert reference() is None


def test_a_model_has_to_be_callable():
    with pytest.raises(TypeError, match="A model must be a callable that takes one ModelRequest, not 'gpt-4o'"):
        LocalServer("gpt-4o")


@pytest.mark.parametrize("model", [lambda: "Hello", lambda request, more: "Hello"])
def test_a_model_that_takes_another_number_of_arguments_is_refused_at_once(model):
    with pytest.raises(TypeError, match=r"A model must be a callable that takes one ModelRequest: .*argument"):
        LocalServer(model)


def test_a_model_may_be_a_generator_function_or_take_further_arguments_with_defaults():
    def model(request, prefix="You said: "):
        yield prefix
        yield request.user_message

    with LocalServer(model):
        pass


def test_a_port_that_is_taken_is_an_os_error_and_leaves_no_os_thread_and_no_file(tmp_path):
    with LocalServer() as server:
        _, threads = threads_of(lambda: refused(OSError, port=server._http.port, database=tmp_path / "new.db"))
    assert threads == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_database_is_an_error_and_leaves_no_os_thread_and_no_socket(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("These are no tables. " * 100)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _, threads = threads_of(lambda: refused(sqlalchemy.exc.DatabaseError, database=path, port=port))
    assert threads == []
    socket.create_server(("127.0.0.1", port)).close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, "the folder .* does not exist", {"database": "no/such/folder/a.db"}),
        (ValueError, "database must be the path of a file", {"database": ""}),
        (ValueError, "database must be the path of a file", {"database": "."}),
        (TypeError, "database must be a path", {"database": 5}),
        (TypeError, "chaos must be a Chaos", {"chaos": 7}),
        (TypeError, "on_request must be a callable", {"on_request": []}),
        (TypeError, "request_log_level must be a number", {"request_log_level": "INFO"}),
        (TypeError, "api_key must be a callable .* or a str", {"api_key": ["a"]}),
        (ValueError, "run_expires_after must be a number of seconds above 0", {"run_expires_after": -1}),
        (ValueError, "run_expires_after must be", {"run_expires_after": float("inf")}),
        (ValueError, "run_expires_after must be", {"run_expires_after": float("nan")}),
        (ValueError, "run_expires_after must be", {"run_expires_after": 0}),
        (ValueError, "item_lag must be a number of seconds of at least 0", {"item_lag": "x"}),
        (ValueError, "item_lag must be", {"item_lag": float("inf")}),
        (ValueError, "port must be a whole number from 0 to 65535", {"port": "8080"}),
        (ValueError, "port must be", {"port": 70_000}),
        (TypeError, "host must be a str", {"host": None}),
        (ValueError, "model_workers must be a whole number", {"model_workers": True}),
        (ValueError, "allow_origins must be a list", {"allow_origins": [5]}),
    ],
)
def test_a_wrong_argument_is_one_sentence_before_anything_has_begun(error, words, options):
    def start():
        with pytest.raises(error, match=words) as raised:
            LocalServer(**options)
        assert len(raised.value.args) == 1

    assert threads_of(start)[1] == []


@pytest.mark.parametrize("name", ["local-http", "local-keeper"])
def test_a_start_that_gets_no_os_thread_leaves_nothing_behind(tmp_path, monkeypatch, name):
    path = tmp_path / "a.db"
    with LocalServer(database=path) as server:
        thread = requests.post(f"{server.base_url}/threads", json={}, headers=BETA, timeout=10).json()["id"]
    start_thread = threading.Thread.start

    def start(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start_thread(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        _, threads = threads_of(lambda: refused(RuntimeError, database=path))
    assert threads == []
    with LocalServer(database=path) as server:
        url = f"{server.base_url}/threads/{thread}"
        assert requests.get(url, headers=BETA, timeout=10).status_code == 200


def test_a_start_that_fails_leaves_unfinished_work_as_it_was(tmp_path, monkeypatch, waiting):
    path = tmp_path / "a.db"
    server = LocalServer(waiting, database=path)
    body = {"model": "m", "input": "Hello", "background": True}
    response = requests.post(f"{server.base_url}/responses", json=body, timeout=10).json()
    assert waiting.called.wait(PATIENCE)
    server.close()
    before = status_in(path, response["id"])
    with monkeypatch.context() as patch:
        patch.setattr(HttpServer, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no OS thread")))
        refused(RuntimeError, database=path)
    assert status_in(path, response["id"]) == before == "in_progress"


def status_in(path, response_id):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [(doc,)] = connection.execute("SELECT doc FROM objects WHERE id = ?", (response_id,))
    return json.loads(doc)["status"]


@pytest.mark.parametrize("part", ["_workers", "_http", "_storage"])
def test_a_close_that_was_interrupted_can_be_finished(monkeypatch, part):
    server = LocalServer()
    monkeypatch.setattr(server, part, Interrupted(getattr(server, part)))
    with pytest.raises(KeyboardInterrupt):
        server.close()
    assert "closed" not in repr(server)
    server.close()
    assert "closed" in repr(server)
    with pytest.raises(requests.ConnectionError):
        requests.get(server.base_url, timeout=10)
    with pytest.raises(StorageClosedError), server._storage.transaction():
        pass


class Interrupted:
    """A part of a server whose first `close` is interrupted."""

    def __init__(self, part):
        self._part = part
        self._interrupts = [KeyboardInterrupt]

    def __getattr__(self, name):
        return getattr(self._part, name)

    def close(self, *arguments):
        if self._interrupts:
            raise self._interrupts.pop()
        self._part.close(*arguments)


@pytest.mark.parametrize("taken", ["port", "file"])
def test_a_start_that_fails_leaves_the_work_of_the_server_before_it_alone(serve, tmp_path, waiting, taken):
    path = tmp_path / "local.db"
    api = serve(waiting, database=path)
    run, background = api.run(api.thread("Hello")), api.ask("Hello")
    synchronous = in_thread(lambda: api.post("/responses", {"model": "m", "input": "Hello"}))
    wait_until(lambda: len(api.server._workers._asking) == 3)
    port = api.server._http.port if taken == "port" else 0
    refused(OSError if taken == "port" else DatabaseInUseError, database=path, port=port)
    waiting.go.set()
    assert synchronous()["status"] == "completed"
    api.see(run, "completed")
    api.follow(background, "completed")


def test_work_that_meets_a_lock_of_another_program_is_done_when_the_lock_is_gone(serve, tmp_path, waiting):
    path = tmp_path / "local.db"
    api = serve(waiting, database=path)
    run = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    with locked(path):
        waiting.go.set()
        assert waiting.returned.wait(PATIENCE)
        sent = in_thread(lambda: api.post("/threads"))
        wait_until(api.server._storage._lock.locked)
        health = requests.get(f"{api.server.base_url.removesuffix('/v1')}/healthz", timeout=PATIENCE)
    assert health.status_code == 503
    assert "Another program has locked the server's database" in health.json()["error"]["message"]
    assert sent()["object"] == "thread"
    api.see(run, "completed")


def test_a_request_that_a_lock_keeps_for_too_long_is_a_503_without_effect(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.shared.wire.PATIENCE", 0.0)
    api = serve(database=tmp_path / "local.db")
    with locked(tmp_path / "local.db"):
        error = api.error("POST", "/threads", 503)
    assert (error["type"], error["message"].startswith("Another program")) == ("server_error", True)


def test_closing_does_not_wait_for_the_lock_of_another_program(serve, tmp_path, waiting):
    api = serve(waiting, database=tmp_path / "local.db")
    run = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    with locked(tmp_path / "local.db"):
        waiting.go.set()
        assert waiting.returned.wait(PATIENCE)
        began = time.monotonic()
        api.server.close()
        assert time.monotonic() - began < 3
    serve(database=tmp_path / "local.db").see(run, "completed")


def test_the_server_listens_at_the_given_address(serve):
    api = serve(host="localhost")
    assert api.server.base_url.startswith("http://localhost:")
    api.thread()
    everywhere = serve(host="0.0.0.0", api_key="sk-right")  # noqa: S104
    everywhere.session.headers["Authorization"] = "Bearer sk-right"
    assert everywhere.server.base_url.startswith("http://127.0.0.1:")
    everywhere.thread()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_ipv6(serve):
    try:
        api = serve(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert api.server.base_url.startswith("http://[::1]:")
    api.thread()


def test_closing_does_not_wait_for_a_model_that_hangs():
    called, go = threading.Event(), threading.Event()

    def model(_request):
        called.set()
        go.wait(PATIENCE)
        return "late"

    server, threads = threads_of(lambda: LocalServer(model))
    headers = {"OpenAI-Beta": "assistants=v2"}
    body = {"assistant_id": "asst_1"}
    requests.post(f"{server.base_url}/threads/runs", json=body, headers=headers, timeout=PATIENCE)
    assert called.wait(PATIENCE)
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 2
    go.set()
    assert gone(threads)


def test_closing_interrupts_a_model_that_listens():
    told = threading.Event()
    called = threading.Event()

    def model(request):
        called.set()
        if request.cancelled.wait(PATIENCE):
            told.set()
        return "late"

    server = LocalServer(model)
    headers = {"OpenAI-Beta": "assistants=v2"}
    requests.post(f"{server.base_url}/threads/runs", json={"assistant_id": "asst_1"}, headers=headers, timeout=PATIENCE)
    assert called.wait(PATIENCE)
    server.close()
    assert told.is_set()


def test_a_model_may_close_its_own_server():
    answered, closed = threading.Event(), threading.Event()

    def model(_request):
        answered.wait(PATIENCE)
        server.close()
        closed.set()
        return "bye"

    server, threads = threads_of(lambda: LocalServer(model))
    headers = {"OpenAI-Beta": "assistants=v2"}
    requests.post(f"{server.base_url}/threads/runs", json={"assistant_id": "asst_1"}, headers=headers, timeout=PATIENCE)
    answered.set()
    assert closed.wait(PATIENCE)
    assert gone(threads)


def test_objects_in_memory_end_with_the_server(serve):
    first = serve()
    thread = first.thread("Hello")
    first.server.close()
    assert serve().error("GET", f"/threads/{thread}", 404)["message"] == f"No thread found with id '{thread}'."


def test_objects_in_a_file_are_there_again_after_a_restart(serve, tmp_path):
    path = tmp_path / "local.db"
    first = serve(lambda request: "Done." if request.outputs else [ToolCall("a")], database=path)
    run = first.play("Hello")
    first.server.close()
    second = serve(lambda request: f"Got {request.outputs}.", database=str(path))
    assert second.get(f"/threads/{run['thread_id']}/runs/{run['id']}") == run
    second.submit(run, "1")
    second.see(run, "completed")
    assert second.texts(run["thread_id"]) == ["Hello", "Got ['1']."]


def test_runs_in_progress_are_made_again_by_the_next_server(serve, tmp_path):
    called = threading.Event()

    def hangs(request):
        called.set()
        request.cancelled.wait(PATIENCE)
        return "from the first server"

    path = tmp_path / "local.db"
    first = serve(hangs, database=path)
    runs = [first.run(first.thread(str(number))) for number in range(20)]
    assert called.wait(PATIENCE)
    first.server.close()
    second = serve(database=path)
    for number, run in enumerate(runs):
        assert second.see(run, "completed")["started_at"] is not None
        assert second.texts(run["thread_id"]) == [str(number), f"You said: {number}"]


def test_a_run_whose_time_is_over_at_the_restart_has_expired(serve, tmp_path):
    path = tmp_path / "local.db"
    first = serve(lambda _request: [ToolCall("a")], database=path, run_expires_after=0.3)
    run = first.play("Hello", until=("requires_action", "expired"))
    first.server.close()
    second = serve(database=path)
    assert second.see(run, "expired")["required_action"] is None


def test_a_run_that_was_being_cancelled_is_cancelled_after_the_restart(serve, tmp_path, monkeypatch):
    path = tmp_path / "local.db"
    first = serve(lambda _request: [ToolCall("a")], database=path)
    run = first.play("Hello")
    monkeypatch.setattr(first.server._workers, "schedule", lambda _chore: None)
    first.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    first.server.close()
    seen = serve(database=path).see(run, "cancelled")
    assert (seen["required_action"], seen["cancelled_at"] >= run["created_at"]) == (None, True)


def test_a_script_plays_through_the_api(serve):
    api = serve(
        ScriptedModel.from_yaml(
            """
            rules:
              - when: busy
                steps:
                  - fail: {code: rate_limit_exceeded, message: Rate limit reached., times: 2}
                  - call: {name: get}
                  - say: "Got {outputs}."
            """
        )
    )
    run = api.play("You look busy")
    assert run["last_error"] == {"code": "rate_limit_exceeded", "message": "Rate limit reached."}
    other = api.play("Also busy")
    assert api.see(api.run(run["thread_id"]), "failed")
    waits = api.see(api.run(run["thread_id"]), "requires_action")
    assert other["status"] == "failed"
    api.submit(waits, "7")
    api.see(waits, "completed")
    assert api.texts(run["thread_id"]) == ["You look busy", "Got 7."]


def test_two_servers_know_nothing_of_each_other(serve):
    one, two = serve(), serve()
    thread = one.thread("Hello")
    assert two.error("GET", f"/threads/{thread}", 404)["message"] == f"No thread found with id '{thread}'."
    assert one.texts(thread) == ["Hello"]
