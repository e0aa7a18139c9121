"""The workers behind the API, and the failures they survive."""

import contextlib
import threading
import time
from functools import partial

import pytest
import requests

from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.local.assistants import lifecycle as runs
from gpt_agent_fsm.local.responses import lifecycle as responses
from gpt_agent_fsm.local.shared.live_turn import LiveTurn

PATIENCE = 10.0


def test_more_runs_than_workers_are_queued_and_all_get_their_turn_in_order(serve):
    go, asked, full = threading.Event(), [], threading.Semaphore(0)

    def model(request):
        asked.append(request.user_message)
        full.release()
        assert go.wait(PATIENCE)
        return request.user_message

    api = serve(model, model_workers=3)
    started = [api.run(api.thread(str(number))) for number in range(10)]
    assert all(full.acquire(timeout=PATIENCE) for _ in range(3))
    assert [api.see(run, "in_progress", "queued")["status"] for run in started] == ["in_progress"] * 3 + ["queued"] * 7
    go.set()
    for number, run in enumerate(started):
        api.see(run, "completed")
        assert api.texts(run["thread_id"])[-1] == str(number)
    assert sorted(asked[:3]) == ["0", "1", "2"]
    assert len(api.server._workers._threads) == 3


def test_a_worker_that_is_idle_is_used_again(serve):
    api = serve()
    workers = api.server._workers
    for number in range(5):
        api.play(str(number), until=("completed",))
        deadline = time.monotonic() + PATIENCE
        while workers._idle._value != 1:
            assert time.monotonic() < deadline
    assert len(workers._threads) == 1


def test_more_models_than_most_servers_have_clients_are_asked_at_once(serve, waiting):
    api = serve(waiting)
    runs = [api.run(api.thread("Hello")) for _ in range(50)]
    assert {api.see(run, "in_progress")["status"] for run in runs} == {"in_progress"}


def test_work_is_done_later_if_the_process_may_not_start_more_os_threads(serve, waiting, monkeypatch, caplog):
    api = serve(waiting)
    first = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    with monkeypatch.context() as patch:

        def start(_thread):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", start)
        second = api.run(api.thread("Hello"))
    waiting.go.set()
    api.see(first, "completed")
    api.see(second, "completed")
    assert "Requests to the model have to wait: can't start new thread" in caplog.text


@pytest.mark.parametrize("number", [0, -1, 1.5, "8", None])
def test_a_number_of_workers_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="model_workers must be a whole number of at least 1"):
        LocalServer(model_workers=number)


def test_a_turn_that_cannot_be_stored_is_logged_and_fails_and_the_next_ones_continue(serve, monkeypatch, caplog):
    api = serve()
    tried, broken = [], threading.Event()

    def settle(*_args):
        tried.append(_args)
        if len(tried) == 2:  # neither the answer nor the failure
            broken.set()
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "settle", settle)
        lost = api.run(api.thread("one"))
        assert broken.wait(PATIENCE)
        assert api.see(lost, "failed")["last_error"]["code"] == "server_error"
    api.play("two", until=("completed",))
    assert f"A turn of {lost['id']} was lost" in caplog.text


def test_a_failure_of_the_upkeep_is_logged_and_does_not_end_it(serve, monkeypatch, caplog):
    go = threading.Event()
    api = serve(lambda _request: str(go.wait(PATIENCE)))
    broken = threading.Event()

    def cancelled(*_args, **_kwargs):
        broken.set()
        raise OSError("the disk is full")

    first, second = (api.run(api.thread(text)) for text in "ab")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "cancelled", cancelled)
        api.post(f"/threads/{first['thread_id']}/runs/{first['id']}/cancel")
        assert broken.wait(PATIENCE)
    api.post(f"/threads/{second['thread_id']}/runs/{second['id']}/cancel")
    api.see(second, "cancelled")
    go.set()
    assert "Cancelling or expiring runs and responses failed" in caplog.text


@pytest.mark.parametrize("kind", ["thread.run", "response"])
def test_work_that_was_removed_before_its_turn_is_skipped(serve, kind, caplog):
    api = serve()
    workers = api.server._workers
    workers.enqueue({"object": kind, "id": "work_x"}, LiveTurn())
    workers.schedule(partial(runs.cancelled, run_id="work_x"))
    assert api.play("Hello")["status"] == "completed"
    assert caplog.records == []


def test_a_turn_that_begins_while_the_server_closes_is_cancelled_at_once_and_changes_nothing(serve):
    told = []
    api = serve(lambda request: str(told.append(request.cancelled.is_set())))
    workers = api.server._workers
    workers.close(PATIENCE)
    run = api.run(api.thread("Hello"))
    workers._make_turn(run["object"], run["id"], LiveTurn())
    assert told == [True]
    assert api.get(f"/threads/{run['thread_id']}/runs/{run['id']}")["status"] == "in_progress"


def test_a_turn_that_ends_late_leaves_the_next_one_of_its_work_alone(serve, waiting):
    workers = serve(waiting).server._workers
    first, second = LiveTurn(), LiveTurn()
    work = {"object": "thread.run", "id": "run_x"}
    workers.enqueue(work, first)
    workers.enqueue(work, second)
    workers._end_turn("run_x", first)
    first.wait()
    assert workers.turn_of("run_x") is second
    workers.end("run_x")
    second.wait()
    assert workers.turn_of("run_x") is None
    workers.end("run_x")


def test_a_turn_that_is_queued_after_the_end_has_ended(serve):
    workers = serve().server._workers
    workers.close(PATIENCE)
    turn = LiveTurn()
    workers.enqueue({"object": "thread.run", "id": "run_x"}, turn)
    assert next(turn.follow(0.0), "the end") == "the end"


def test_work_that_expires_in_a_failed_transaction_continues_until_its_end_is_stored(serve, waiting, monkeypatch):
    server = serve(waiting).server
    workers, storage, here = server._workers, server._storage, threading.current_thread()
    monkeypatch.setattr(runs, "expire", lambda _tx: [{"id": "run_x"}] if threading.current_thread() is here else [])
    turn = LiveTurn()
    workers.enqueue({"object": "thread.run", "id": "run_x"}, turn)
    with contextlib.suppress(ZeroDivisionError), storage.transaction() as tx:
        workers.expire(tx)
        raise ZeroDivisionError
    assert workers.turn_of("run_x") is turn
    with storage.transaction() as tx:
        workers.expire(tx)
    assert workers.turn_of("run_x") is None


def test_an_answer_that_cannot_be_kept_is_a_failure_and_keeps_nobody_waiting(monkeypatch, caplog):
    settle, broken = responses.settle, [True]

    def once(*args):
        if broken:
            broken.clear()
            raise RuntimeError("broken")
        return settle(*args)

    monkeypatch.setattr(responses, "settle", once)
    with LocalServer() as server:
        body = {"model": "m", "input": "Hello"}
        seen = requests.post(f"{server.base_url}/responses", json=body, timeout=20).json()
    assert (seen["status"], seen["error"]["code"]) == ("failed", "server_error")
    assert "cannot be stored" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit()])
@pytest.mark.parametrize("store", [True, False])
def test_a_lost_turn_ends_at_once_for_the_client_that_waits(serve, monkeypatch, caplog, error, store):
    def start(*_args):
        raise error

    api = serve(model_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(responses, "start", start)
        lost = api.post("/responses", {"model": "m", "input": "secret-4711", "store": store})
    assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")
    assert f"A turn of {lost['id']} was lost" in caplog.text
    with api.server._storage.transaction() as tx:
        assert bool(tx.containing("question", b"secret-4711")) is store
    # The worker is still there.
    assert api.post("/responses", {"model": "m", "input": "Hello"})["status"] == "completed"


def test_a_lost_turn_whose_loss_cannot_be_stored_keeps_nobody_waiting(serve, monkeypatch, caplog):
    def broken(*_args):
        raise OSError("the disk is full")

    api = serve()
    monkeypatch.setattr(responses, "start", broken)
    monkeypatch.setattr(responses, "abort", broken)
    api.error("POST", "/responses", 503, json={"model": "m", "input": "Hello"})
    assert "cannot be stored" in caplog.text


def test_the_result_of_a_turn_that_expired_is_the_run_as_it_ended(serve, waiting):
    api = serve(waiting, run_expires_after=3600)
    run = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    turn = api.server._workers.turn_of(run["id"])
    with api.server._storage.transaction() as tx:
        tx._connection.exec_driver_sql("UPDATE objects SET due = 0 WHERE kind = 'run'")
    api.see(run, "expired")
    assert turn.result["status"] == "expired"
