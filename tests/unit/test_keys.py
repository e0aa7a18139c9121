"""`start`, `find` and keys: threads that an application finds by names of its own."""

import threading

import pytest

from gpt_agent_fsm import Runtime, errors
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler


def test_start_makes_a_new_thread_each_time(world):
    one, two = world.runtime.start("asst_1"), world.runtime.start("asst_1")
    assert one.thread_id != two.thread_id
    assert one.ask("Hello", timeout=60).text == "You said: Hello"


def test_a_key_leads_to_the_same_thread_again(world):
    one = world.runtime.start("asst_1", key="user-42")
    assert world.runtime.start("asst_1", key="user-42") is one
    assert world.runtime.find("user-42") == one.thread_id
    assert world.runtime.start("asst_1", key="user-43").thread_id != one.thread_id


def test_a_known_key_with_an_agent_needs_no_request(world):
    agent = world.runtime.start("asst_1", key="user-42")
    world.server.create_thread = world.server.get_thread = world.server.list_runs = None
    assert world.runtime.start("asst_1", key="user-42") is agent


def test_an_unknown_key_is_found_nowhere_and_nothing_is_requested(world):
    world.server.create_thread = None
    assert world.runtime.find("user-42") is None


def test_a_key_is_kept_in_the_store():
    store, server = MemoryStore(), SimulatedServer()
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        thread_id = runtime.start("asst_1", key="user-42").thread_id
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        assert runtime.find("user-42") == thread_id
        assert runtime.start("asst_2", key="user-42").thread_id == thread_id


def test_connect_gives_a_thread_a_key(world):
    agent = world.connect(key="user-42")
    assert world.runtime.find("user-42") == agent.thread_id
    assert world.connect(agent.thread_id, key="user-42") is agent


def test_a_key_of_another_thread_is_refused(world):
    agent = world.connect(key="user-42")
    with pytest.raises(ValueError, match=f"'user-42' belongs to the thread {agent.thread_id}"):
        world.connect(key="user-42")


def test_a_thread_that_the_server_does_not_know_gets_no_key(world):
    with pytest.raises(errors.InvalidThreadId):
        world.connect("thread_9", key="user-42")
    assert world.runtime.find("user-42") is None
    assert world.runtime.start("asst_1", key="user-42").alive


@pytest.mark.parametrize("wrong", [{"subscribe": 5}, {"idle_timeout": -1}])
def test_start_makes_no_thread_if_an_argument_is_wrong(world, wrong):
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        world.runtime.start("asst_1", key="user-42", **wrong)
    assert world.runtime.find("user-42") is None


@pytest.mark.parametrize("key", ["", " ", 42])
def test_a_key_must_be_a_text(world, key):
    for call in (world.runtime.find, lambda key: world.runtime.start("asst_1", key=key)):
        with pytest.raises(ValueError, match="key"):
            call(key)


def test_two_starts_with_one_key_at_once_make_one_thread(world):
    made, create = [], world.server.create_thread
    inside, go_on = threading.Event(), threading.Event()

    def slow(**options):
        inside.set()
        assert go_on.wait(30)
        made.append(create(**options))
        return made[-1]

    world.server.create_thread = slow
    agents = []
    callers = [
        threading.Thread(target=lambda: agents.append(world.runtime.start("asst_1", key="user-42"))) for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    assert inside.wait(30)
    go_on.set()
    for caller in callers:
        caller.join()
    assert len(made) == 1
    assert {agent.thread_id for agent in agents} == set(made)


def test_a_store_without_keys_says_so(world):
    class Plain:
        """Forwards what `Store` has."""

        def __init__(self):
            store = MemoryStore()
            for name in ("load", "accept", "commit", "announced", "history", "unfinished", "close"):
                setattr(self, name, getattr(store, name))

    with Runtime(world.server, store=Plain(), scheduler=VirtualScheduler()) as runtime:
        assert runtime.start("asst_1").alive
        with pytest.raises(TypeError, match="Plain cannot keep the keys of threads"):
            runtime.find("user-42")


def test_a_key_whose_thread_the_server_has_forgotten_is_an_invalid_thread(world):
    world.runtime._keys.claim("user-42", "thread_gone")
    with pytest.raises(errors.InvalidThreadId):
        world.runtime.start("asst_1", key="user-42")
