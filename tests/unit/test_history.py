"""Parts of a thread's history, and replays in pages."""

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.engine import history
from gpt_agent_fsm.engine.history import history_page, records_after
from gpt_agent_fsm.events import RunStarted
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler


class Plain:
    """A store that can only return the whole history."""

    def __init__(self, store):
        self.history = store.history


@pytest.fixture(params=["in pages", "as a whole"])
def store(request):
    store = MemoryStore()
    happened = [RunStarted(id=f"run_{n}", thread_id="t", assistant_id="a") for n in range(5)]
    store.commit(Snapshot(thread_id="t", assistant_id="a"), consumed=0, events=happened, at=1.0, due=None)
    return store if request.param == "in pages" else Plain(store)


def numbers(records):
    return [record.seq for record in records]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"after": 3}, [4, 5]),
        ({"limit": 2}, [1, 2]),
        ({"after": 1, "limit": 2}, [2, 3]),
        ({"limit": 2, "newest": True}, [4, 5]),
        ({"after": 4, "limit": 2, "newest": True}, [5]),
        ({"limit": 9}, [1, 2, 3, 4, 5]),
    ],
)
def test_a_part_of_a_history_is_always_in_order(store, arguments, expected):
    assert numbers(history_page(store, "t", **arguments)) == expected


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
def test_a_history_is_read_whole_in_pages_of_any_size(store, size, monkeypatch):
    monkeypatch.setattr(history, "_PAGE", size)
    assert numbers(records_after(store, "t", 0)) == [1, 2, 3, 4, 5]
    assert numbers(records_after(store, "t", 3)) == [4, 5]
    assert numbers(records_after(store, "unknown", 0)) == []


def test_a_runtime_returns_a_part_of_a_history(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    runtime = world.runtime
    every = runtime.history(agent.thread_id)
    assert len(every) > 3
    assert runtime.history(agent.thread_id, 1, 2) == every[1:3]
    assert runtime.history(agent.thread_id, limit=2, newest=True) == every[-2:]


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_a_limit_that_makes_no_sense_is_refused(world, limit):
    with pytest.raises(ValueError, match="limit must be a whole number from 1 up"):
        world.runtime.history("thread_1", limit=limit)


@pytest.mark.parametrize("wrong", [None, 3, "", "a\0b", "a\ud800b"])
def test_a_history_of_something_that_is_no_id_is_refused(wrong):
    with Runtime(SimulatedServer(), scheduler=VirtualScheduler()) as runtime:
        with pytest.raises(ValueError, match="history: thread_id"):
            runtime.history(wrong)
        with pytest.raises(ValueError, match="history: thread_id must be a string, not <Agent"):
            runtime.history(runtime.start("asst_1"))
