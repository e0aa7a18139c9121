"""Workers that are killed or frozen, and a database that stops: every thread ends, and nothing happens twice."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from gpt_agent_fsm import events
from tests.cluster.helpers import PATIENCE, expire, query
from tests.cluster.worlds import ASSISTANT, Listener, World, drives, driving, wait_until
from tests.stores.helpers import ROOT


@contextlib.contextmanager
def a_worker(world):
    """A worker in a process of its own. Yields the process, with its name in the cluster."""
    command = [sys.executable, "-m", "tests.cluster.killed_worker", world.url, world.server.base_url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        process.worker_id = process.stdout.readline().strip()
        assert process.worker_id
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def check_all_ended(world, agents):
    """Wait until all threads have ended, and check that each message is on the server once, with one answer."""
    for agent, said in agents.items():
        assert agent.wait(PATIENCE) == "idle", agent.explain()
        assert world.messages(agent.thread_id) == [("user", said), ("assistant", f"You said: {said}")]
    assert Counter(world.asked) == dict.fromkeys(agents.values(), 1)


def owner_of(world, agent):
    return query(world.url, "SELECT worker FROM gpt_agent_owners WHERE thread_id = %s", agent.thread_id)[0][0]


def test_the_threads_of_a_worker_that_is_killed_in_a_run_are_finished_by_another(world):
    runtime = world.open()
    with a_worker(world) as worker:
        agents = {runtime.start(ASSISTANT): f"hold {number}" for number in range(4)}
        for agent, said in agents.items():
            agent.add_user_message(said)
        for said in agents.values():
            world.wait_until_asked(said)
        assert {owner_of(world, agent) for agent in agents} == {worker.worker_id}
        worker.kill()
        worker.wait(PATIENCE)
        successor = world.open_worker()
        world.let_go()
        driving(successor).beat()
        assert {owner_of(world, agent) for agent in agents} == {worker.worker_id}, "it was not late yet"
        expire(world.url, worker.worker_id)
        driving(successor).beat()
        check_all_ended(world, agents)
        assert query(world.url, "SELECT id FROM gpt_agent_workers") == [(driving(successor).leases.worker_id,)]


def test_the_threads_of_a_frozen_worker_are_finished_by_another_and_it_continues_when_it_wakes(world):
    """This test takes as long as a lease: a frozen worker must not wake before its time is over."""
    runtime, listener = world.open(), Listener()
    with a_worker(world) as worker:
        agents = {runtime.start(ASSISTANT, subscribe=listener): f"hold {number}" for number in range(3)}
        for agent, said in agents.items():
            agent.add_user_message(said)
        for said in agents.values():
            world.wait_until_asked(said)
        worker.send_signal(signal.SIGSTOP)
        successor = world.open_worker()
        world.let_go()
        wait_until(lambda: owner_of(world, next(iter(agents))) != worker.worker_id)
        worker.send_signal(signal.SIGCONT)
        check_all_ended(world, agents)
        successor.close()
        again = runtime.start(ASSISTANT)
        assert again.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
        assert owner_of(world, again) != worker.worker_id, "it continues under a new name"
    for agent in agents:
        history = [record.event for record in runtime.history(agent.thread_id)]
        assert [event for event in listener.lasting if event.thread_id == agent.thread_id] == history


@pytest.fixture
def fragile_world(own_postgresql):
    """A world whose database can be stopped."""
    with contextlib.ExitStack() as ends:
        yield World(own_postgresql.new_schema(), ends)


def test_everything_continues_after_the_database_was_stopped_and_started_again(fragile_world, own_postgresql):
    world, listener = fragile_world, Listener()
    worker, runtime = world.open_worker(), world.open()
    agents = {runtime.start(ASSISTANT, subscribe=listener): f"hold {number}" for number in range(3)}
    for agent, said in agents.items():
        agent.add_user_message(said)
    for said in agents.values():
        world.wait_until_asked(said)
    own_postgresql.stop()
    world.let_go()
    own_postgresql.start()
    check_all_ended(world, agents)
    for agent in agents:
        history = [record.event for record in runtime.history(agent.thread_id)]
        assert [event for event in listener.lasting if event.thread_id == agent.thread_id] == history
    new = runtime.start(ASSISTANT)
    assert new.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
    assert worker.start(ASSISTANT).ask("Again", timeout=PATIENCE).text == "You said: Again"


def test_a_database_that_is_away_for_longer_than_a_lease_costs_no_thread(fragile_world, own_postgresql, monkeypatch):
    """The worker stops by its own clock. When the database is back, it claims its threads again."""
    world = fragile_world
    worker, runtime = world.open_worker(), world.open()
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    lease = driving(worker).leases.of(agent.thread_id)
    own_postgresql.stop()
    lease.worker.valid_until = 0.0  # as if the time had passed
    world.let_go()
    assert not lease.holds()
    own_postgresql.start()
    check_all_ended(world, {agent: "hold"})


def test_a_worker_that_was_taken_for_dead_continues_with_its_threads(world):
    """All its threads are lost at the heartbeat, and claimed again under the new name."""
    worker, runtime, listener = world.open_worker(), world.open(), Listener()
    agents = {runtime.start(ASSISTANT, subscribe=listener): f"hold {number}" for number in range(3)}
    for agent, said in agents.items():
        agent.add_user_message(said)
    for said in agents.values():
        world.wait_until_asked(said)
    before = driving(worker).leases.worker_id
    query(world.url, "DELETE FROM gpt_agent_workers")
    driving(worker).beat()
    assert driving(worker).leases.worker_id != before
    driving(worker).beat()
    world.let_go()
    check_all_ended(world, agents)
    assert listener.of(events.AgentStopped) == []


def hand_over(world, worker, said):
    """Close a worker that drives threads after another one has come, and return the other when all threads continue."""
    wait_until(lambda: any(drives(worker, agent.thread_id) for agent in said))
    successor = world.open_worker()
    worker.close()
    counts = {agent: len(texts) for agent, texts in said.items()}
    wait_until(lambda: all(len(texts) > counts[agent] for agent, texts in said.items()))
    return successor


def test_threads_are_driven_once_while_workers_come_and_go(world):
    """Users ask without a pause while workers are closed and opened."""
    runtime, stop = world.open(), threading.Event()
    agents = [runtime.start(ASSISTANT) for _ in range(3)]
    said = {agent: [] for agent in agents}

    def talk(agent):
        while not stop.is_set():
            text = f"{agents.index(agent)}.{len(said[agent])}"
            assert agent.ask(text, timeout=PATIENCE).text == f"You said: {text}"
            said[agent].append(text)

    talkers = [threading.Thread(target=talk, args=[agent], daemon=True) for agent in agents]
    worker = world.open_worker()
    for talker in talkers:
        talker.start()
    for _ in range(3):
        worker = hand_over(world, worker, said)
    stop.set()
    for talker in talkers:
        talker.join(PATIENCE)
        assert not talker.is_alive()
    for agent in agents:
        expected = [pair for text in said[agent] for pair in (("user", text), ("assistant", f"You said: {text}"))]
        assert world.messages(agent.thread_id) == expected[:100]
