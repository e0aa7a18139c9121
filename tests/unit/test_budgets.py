"""Usage and budgets, as a program sees them."""

import logging

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events
from gpt_agent_fsm.ports import Usage
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler

PATIENCE = 60


def counted(world):
    return [event for event in world.heard if isinstance(event, events.BudgetExceeded)]


def test_an_agent_and_a_runtime_count_tokens_and_runs(world):
    one, two = world.connect(), world.connect()
    one.ask("Hello", timeout=PATIENCE)
    one.ask("Hello", timeout=PATIENCE)
    two.ask("Hello", timeout=PATIENCE)
    assert one.usage == Usage(prompt_tokens=2, completion_tokens=2, total_tokens=4, runs=2)
    assert world.runtime.usage == one.usage + two.usage
    one.shutdown()
    assert one.usage.runs == 2


@pytest.mark.parametrize("durable", [False, True])
def test_usage_is_kept_in_the_store(tmp_path, durable):
    memory = MemoryStore()

    def make():
        return SQLStore(f"sqlite:///{tmp_path}/agents.db") if durable else memory

    server = SimulatedServer()
    with Runtime(server, store=make(), scheduler=VirtualScheduler()) as runtime:
        assert runtime.usage == Usage()
        thread_id = runtime.create_thread()
        runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None).ask("Hello", timeout=PATIENCE)
    with Runtime(server, store=make(), scheduler=VirtualScheduler()) as runtime:
        assert runtime.usage.runs == 1
        again = runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)
        assert again.usage.total_tokens == 2


def test_beyond_the_limit_asking_is_an_error_and_a_larger_limit_helps(world):
    agent = world.connect(max_total_tokens=3)
    agent.ask("One", timeout=PATIENCE)
    agent.ask("Two", timeout=PATIENCE)
    for _ in range(2):
        with pytest.raises(errors.RunError, match="4 tokens were used; the limit is 3") as caught:
            agent.ask("Three", timeout=PATIENCE)
        assert caught.value.code == "budget_exceeded"
    assert counted(world) == [events.BudgetExceeded(thread_id=agent.thread_id, used=4, limit=3)]
    assert agent.state == "failed"
    world.connect(agent.thread_id, max_total_tokens=100)
    assert agent.ask("Four", timeout=PATIENCE).text == "You said: Four"


def test_a_limit_is_kept_with_the_thread():
    server, store = SimulatedServer(), MemoryStore()
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        thread_id = runtime.start("a", max_total_tokens=2).thread_id
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)
        agent.ask("One", timeout=PATIENCE)
        with pytest.raises(errors.RunError):
            agent.ask("Two", timeout=PATIENCE)


def test_the_setting_is_the_limit_of_every_thread():
    settings = Settings(max_total_tokens=2)
    with Runtime(SimulatedServer(), settings, scheduler=VirtualScheduler()) as runtime:
        for _ in range(2):
            agent = runtime.start("a")
            agent.ask("One", timeout=PATIENCE)
            agent.add_user_message("Two")
            assert agent.wait(timeout=PATIENCE) == "failed"
            assert agent.failure.parked


@pytest.mark.parametrize("limit", [0, -1, 1.5, "7", True, 10**15 + 1])
def test_a_limit_that_makes_no_sense_is_refused(world, limit):
    with pytest.raises(ValueError, match="max_total_tokens must be a whole number from 1 to 1000000000000000"):
        world.connect(max_total_tokens=limit)
    with pytest.raises(ValueError, match="max_total_tokens"):
        Settings(max_total_tokens=limit)


def test_the_highest_limit_is_the_same_for_a_thread_and_for_all_threads(world):
    assert Settings(max_total_tokens=10**15).max_total_tokens == 10**15
    assert world.connect(max_total_tokens=10**15).ask("Hello", timeout=PATIENCE).usage.runs == 1


def test_the_log_names_the_thread_whose_tokens_are_used_up(world, caplog):
    agent = world.connect(max_total_tokens=1)
    for text in ("One", "Two", "Three"):
        agent.add_user_message(text)
    agent.wait(timeout=PATIENCE)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [f"{agent.thread_id} sends nothing more: 2 tokens were used, and the limit is 1"]


def test_answers_add_up_to_the_usage_of_the_thread(world):
    agent = world.connect()
    answers = [agent.ask("Hello", timeout=PATIENCE) for _ in range(2)]
    assert sum((answer.usage for answer in answers), Usage()) == agent.usage


def test_a_store_that_does_not_count_says_so(world):
    class Plain:
        """Forwards what `Store` has."""

        def __init__(self):
            store = MemoryStore()
            for name in ("load", "accept", "commit", "announced", "history", "unfinished", "close"):
                setattr(self, name, getattr(store, name))

    with (
        Runtime(world.server, store=Plain(), scheduler=VirtualScheduler()) as runtime,
        pytest.raises(TypeError, match="Plain does not count tokens"),
    ):
        runtime.usage  # noqa: B018 - it raises
