"""What only the store in memory does: it can keep a part of the history."""

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.contracts.store_means import idle, numbers_of, some_events


def commit(store, *numbers):
    return store.commit(idle(), consumed=0, events=some_events(*numbers), at=1.0, due=None)


def test_a_store_that_keeps_three_records_forgets_the_older_ones_when_they_were_announced():
    store = MemoryStore(keep_history=3)
    commit(store, 1, 2, 3, 4, 5)
    assert numbers_of(store.history("thread_1")) == [1, 2, 3, 4, 5]
    store.announced("thread_1", 1)
    assert numbers_of(store.history("thread_1")) == [2, 3, 4, 5]
    store.announced("thread_1", 5)
    assert numbers_of(store.history("thread_1")) == [3, 4, 5]
    assert numbers_of(commit(store, 6)) == [6]
    store.announced("thread_1", 6)
    assert numbers_of(store.history_page("thread_1", after=0, limit=2)) == [4, 5]


def test_a_store_keeps_everything_unless_told_otherwise():
    store = MemoryStore()
    commit(store, 1, 2, 3)
    store.announced("thread_1", 3)
    assert numbers_of(store.history("thread_1")) == [1, 2, 3]


def test_a_conversation_works_with_a_store_that_keeps_one_record():
    heard, store = [], MemoryStore(keep_history=1)
    with Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1", subscribe=lambda agent, event: heard.append(type(event).__name__))
        for text in ("Hello", "Again"):
            assert agent.ask(text, timeout=60).text == f"You said: {text}"
    assert heard.count("AssistantMessageAdded") == 2
    assert len(store.history(agent.thread_id)) == 1


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "3"])
def test_a_number_of_records_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="keep_history must be a whole number from 1 up"):
        MemoryStore(keep_history=wrong)
