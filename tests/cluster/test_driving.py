"""One worker: which threads it takes, its heart, and how it lets go."""

import contextlib
import logging
import threading

import pytest

from gpt_agent_fsm import errors
from gpt_agent_fsm.cluster import driving as module
from gpt_agent_fsm.cluster import tables
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.stores import SQLStore, codec
from tests.cluster.helpers import PATIENCE, Fails, expire, offered, query
from tests.cluster.worlds import ASSISTANT, drives, driving, wait_until, wait_until_free
from tests.stores.helpers import say


@pytest.fixture
def worker(world):
    """A worker. Its heart beats by itself, too, and a beat may come at any time."""
    return world.open_worker()


@pytest.fixture
def held(world, worker):
    """A thread that the worker drives, in a run that does not end yet."""
    agent = world.open().start(ASSISTANT)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    return agent


def nothing():
    """Do nothing."""


def stop_beating(worker, monkeypatch):
    """Let the heart of a worker do nothing from now on. Return when its last beat has ended."""
    beaten = threading.Event()
    monkeypatch.setattr(driving(worker), "beat", beaten.set)
    assert beaten.wait(PATIENCE)


# --- owning ---------------------------------------------------------------------------------------------------


def test_a_worker_takes_a_thread_once(world, worker, held):
    ended = []
    assert not driving(worker).own(held.thread_id, lambda: ended.append(True))
    assert drives(worker, held.thread_id)
    assert ended == []


def test_a_worker_does_not_take_a_thread_of_another(world, worker, held):
    other = world.open_worker()
    assert not driving(other).own(held.thread_id, nothing)
    assert drives(worker, held.thread_id)


@pytest.mark.parametrize("error", [errors.StoreError("no connection"), KeyError("a field of a newer version")])
def test_a_thread_that_cannot_begin_is_offered_again_after_a_pause(world, worker, monkeypatch, caplog, error):
    agent = world.open().start(ASSISTANT)
    agent.wait(PATIENCE)
    wait_until_free(world)
    ended = []

    def fail(*_args, **_options):
        raise error

    stop_beating(worker, monkeypatch)
    monkeypatch.setattr(driving(worker).roster, "own", fail)
    query(world.url, "UPDATE gpt_agent_threads SET unfinished = true")
    assert not driving(worker).own(agent.thread_id, lambda: ended.append(True))
    assert ended == [True]
    assert not drives(worker, agent.thread_id)
    assert offered(world.url) == [], "it would be claimed again at once"
    assert f"{agent.thread_id} is not driven here, and is offered again: {error}" in caplog.text
    assert driving(worker).leases.sweep(module._PATIENCE) == 0
    assert driving(worker).leases.sweep(0.0) == 1
    monkeypatch.undo()
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_the_threads_of_a_dead_worker_are_all_claimed_before_the_work_on_them_begins(world, worker, held, monkeypatch):
    rests = world.open().start(ASSISTANT)
    rests.wait(PATIENCE)
    other, pauses = world.open_worker(), {}
    monkeypatch.setattr(driving(other).roster, "own", lambda thread_id, _, pause: pauses.update({thread_id: pause}))
    wait_until(lambda: driving(other).own(rests.thread_id, nothing))  # when the first worker has released it
    stop_beating(worker, monkeypatch)
    expire(world.url, driving(worker).leases.worker_id)
    query(world.url, tables.BURY)
    driving(other).own(held.thread_id, nothing)
    wait_until(lambda: held.thread_id in pauses)
    assert pauses == {rests.thread_id: 0.0, held.thread_id: module._CLAIMS_FIRST}


def test_the_status_names_the_threads_of_a_worker(world, worker, held):
    status = worker.store.worker
    assert status.threads == (held.thread_id,)
    assert status.is_alive
    assert status.id == driving(worker).leases.worker_id
    assert world.open().store.worker is None


# --- the heart ------------------------------------------------------------------------------------------------


def test_a_beat_lets_go_of_lost_threads_and_claims_them_again(world, worker, held):
    roster, before = driving(worker).roster, driving(worker).roster.get(held.thread_id)
    query(world.url, "DELETE FROM gpt_agent_workers")
    driving(worker).beat()
    assert before.has_stopped or before.stop_reason == "store_taken"
    driving(worker).beat()
    wait_until(lambda: roster.get(held.thread_id) not in (None, before))
    world.let_go()
    assert held.wait(PATIENCE) == "idle"
    assert world.asked == ["hold"]


def test_a_claim_during_which_the_worker_lost_its_name_drives_nothing(world, worker, monkeypatch):
    """The others may have given the thread away before its driver is there."""
    agent = world.open().start(ASSISTANT)
    agent.wait(PATIENCE)
    wait_until_free(world)
    roster, own = driving(worker).roster, driving(worker).roster.own

    def own_late(*args, **options):
        query(world.url, "DELETE FROM gpt_agent_workers")
        driving(worker).beat()
        own(*args, **options)

    monkeypatch.setattr(roster, "own", own_late)
    driving(worker).own(agent.thread_id, nothing)
    assert roster.get(agent.thread_id) is None
    monkeypatch.undo()
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_news_that_comes_between_a_claim_and_its_driver_is_heard(world, worker, process, monkeypatch):
    agent = world.open().start(ASSISTANT)
    agent.wait(PATIENCE)
    wait_until_free(world)
    stop_beating(worker, monkeypatch)
    load = driving(worker).roster._context.store.load

    def load_too_early(thread_id):
        saved = load(thread_id)
        process.accepting.accept(thread_id, say("Hello"))
        driving(worker).note_commands(thread_id)
        return saved

    monkeypatch.setattr(driving(worker).roster._context.store, "load", load_too_early)
    driving(worker).own(agent.thread_id, nothing)
    epoch = query(world.url, "SELECT epoch FROM gpt_agent_owners")
    wait_until(lambda: len(world.messages(agent.thread_id)) == 2)
    assert query(world.url, "SELECT epoch FROM gpt_agent_owners") == epoch, "it was heard under this claim"


def test_a_beat_renews_the_leases_before_it_reads_anything(worker, held, monkeypatch):
    order = []
    heartbeat, reason = driving(worker).leases.heartbeat, module.upgrades.reason
    stop_beating(worker, monkeypatch)
    monkeypatch.setattr(driving(worker).leases, "heartbeat", lambda held: order.append("renew") or heartbeat(held))
    monkeypatch.setattr(module.upgrades, "reason", lambda connection: order.append("read") or reason(connection))
    module.Driving.beat(driving(worker))
    assert order == ["renew", "read"]


def test_a_worker_gives_up_once_if_a_single_owner_has_the_database(world, worker, held, monkeypatch, caplog):
    stop_beating(worker, monkeypatch)
    with contextlib.closing(SQLStore(world.url)):
        for _ in range(3):
            module.Driving.beat(driving(worker))
        assert caplog.text.count("this worker stops: A SQLStore has the database of this cluster now") == 1
        wait_until(lambda: driving(worker).leases.held == ())
        assert query(world.url, "SELECT count(*) FROM gpt_agent_workers") == [(0,)]
    world.let_go()


def test_a_beat_finds_commands_of_which_no_news_has_come(world, worker, held, process, monkeypatch):
    monkeypatch.setattr(worker._own_roster, "thread_changed", lambda thread_id: None)
    process.accepting.accept(held.thread_id, CancelRun())
    driving(worker).beat()
    assert held.wait(PATIENCE) == "failed"
    assert held.failure.code == "cancelled"


def test_a_beat_renews_the_leases_although_the_job_queue_fails(worker, held, monkeypatch):
    def fail(_connection):
        raise errors.StoreError("the queue is broken")

    monkeypatch.setattr(driving(worker)._placer, "clean_up", fail)
    renewed = []
    heartbeat = driving(worker).leases.heartbeat
    monkeypatch.setattr(driving(worker).leases, "heartbeat", lambda held: renewed.append(held) or heartbeat(held))
    with pytest.raises(errors.StoreError, match="the queue is broken"):
        driving(worker).beat()
    assert renewed


@pytest.mark.parametrize("part", ["save_releases", "sweep", "threads_with_commands"])
def test_a_part_of_a_beat_that_fails_does_not_stop_the_others(worker, monkeypatch, part):
    stop_beating(worker, monkeypatch)
    done, leases = [], driving(worker).leases

    def fail(*_):
        raise errors.StoreError("locked")

    for name in ("save_releases", "sweep", "threads_with_commands"):
        monkeypatch.setattr(leases, name, lambda *_, name=name: done.append(name) or [])
    monkeypatch.setattr(leases, part, fail)
    renewals, heartbeat = [], leases.heartbeat
    monkeypatch.setattr(leases, "heartbeat", lambda held: renewals.append(part) or heartbeat(held))
    monkeypatch.setattr(driving(worker).account, "look", lambda: done.append("look"))
    with pytest.raises(errors.StoreError, match="locked"):
        module.Driving.beat(driving(worker))
    assert {*done, part} == {"save_releases", "sweep", "threads_with_commands", "look"}
    assert len(renewals) == 2, "the part that failed may have waited for long"


def test_a_beat_offers_threads_that_were_forgotten(world, worker, process):
    agent = world.open().start(ASSISTANT)
    agent.wait(PATIENCE)
    wait_until_free(world)
    values = (agent.thread_id, 1000, codec.encode_command(say("Hello")))
    query(world.url, "INSERT INTO gpt_agent_inbox (thread_id, number, command) VALUES (%s, %s, %s)", *values)
    query(world.url, "UPDATE gpt_agent_owners SET accepted = 1000")
    driving(worker).beat()
    wait_until(lambda: len(world.messages(agent.thread_id)) == 2)


def test_a_beat_deletes_the_jobs_of_workers_that_are_gone(world, worker, held):
    [(job,)] = query(world.url, "SELECT id FROM procrastinate_jobs")
    driving(worker).beat()
    assert query(world.url, "SELECT id FROM procrastinate_jobs") == [(job,)], "its worker is alive"
    insert = "INSERT INTO procrastinate_jobs (queue_name, task_name, status, args) VALUES (%s, 'a task', 'doing', '{}')"
    for queue in ("gpt_agent_fsm", "somebody else's"):
        query(world.url, insert, queue)
    driving(worker).beat()
    rows = query(world.url, "SELECT queue_name FROM procrastinate_jobs ORDER BY id")
    assert rows == [("gpt_agent_fsm",), ("somebody else's",)]


def test_a_heart_that_fails_beats_on(world, worker, monkeypatch, caplog):
    monkeypatch.setattr(module, "HEARTBEAT", 0.01)
    beats = []

    def beat():
        beats.append(True)
        if len(beats) == 1:
            raise errors.StoreError("no connection")
        if len(beats) == 2:
            raise RuntimeError("a defect")

    monkeypatch.setattr(driving(worker), "beat", beat)
    wait_until(lambda: len(beats) >= 3)
    assert "the heartbeat of this worker failed, and is tried again: no connection" in caplog.text
    assert [record.levelno for record in caplog.records if record.name == module.__name__] == [
        logging.WARNING,
        logging.ERROR,
    ]


# --- the end ----------------------------------------------------------------------------------------------------


def test_a_worker_that_stops_takes_no_thread_and_lets_go_of_all(world, worker, held):
    driving(worker).stop()
    wait_until(lambda: not drives(worker, held.thread_id))
    successor = world.open_worker()
    wait_until(lambda: drives(successor, held.thread_id))
    assert not driving(worker).own(held.thread_id, nothing)


def test_a_worker_that_cannot_say_that_it_ends_says_so_in_the_log(world, worker, caplog):
    fails = Fails(worker.store._database)
    driving(worker).stop()
    fails.before = 100
    driving(worker).close()
    driving(worker).close()
    assert "this worker could not say that it ends; others notice it in a few seconds" in caplog.text
    assert query(world.url, "SELECT count(*) FROM gpt_agent_workers") == [(1,)]
    fails.before = 0
