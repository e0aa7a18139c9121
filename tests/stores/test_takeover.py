"""A store that another process has taken over: its agents stop, and everybody is told who has it now."""

import contextlib
import os
import socket
import time

import attrs
import pytest

from gpt_agent_fsm import Runtime, events
from gpt_agent_fsm.errors import AgentNotAlive, StoreError, StoreTaken
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.stores.holder import Holder
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.stores.helpers import commit, idle, say, sqlite

ELSEWHERE = Holder(host="other-host", pid=4711, since=1_750_000_000.0)


@pytest.fixture
def elsewhere(monkeypatch):
    """From now on, stores are opened by a process on another machine."""
    monkeypatch.setattr(Holder, "here", lambda: ELSEWHERE)


# --- ownership -------------------------------------------------------------------------------------------------


def test_a_store_owns_its_database_until_another_one_is_opened(store, url):
    assert store.is_owned()
    with contextlib.closing(SQLStore(url)) as later:
        assert later.is_owned()
        assert not store.is_owned()


def test_a_store_that_cannot_ask_does_not_claim_to_own_anything(store):
    store.close()
    assert not store.is_owned()


# --- the holder -----------------------------------------------------------------------------------------------


def test_the_holder_is_the_process_that_opened_the_store(store, url):
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        holder = reader.holder()
    assert holder == store.holder()
    assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
    assert abs(holder.since - time.time()) < 60


def test_the_last_one_who_opened_it_is_the_holder(store, url, elsewhere):
    with contextlib.closing(SQLStore(url)):
        assert store.holder() == ELSEWHERE
        assert str(ELSEWHERE) == "process 4711 on other-host, since 2025-06-15 15:06:40 UTC"


def test_a_store_that_was_closed_has_no_holder(store, url):
    commit(store, idle())
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        store.close()
        assert reader.holder() is None


def test_a_former_holder_that_closes_its_store_leaves_the_new_one_in_place(store, url, elsewhere):
    with contextlib.closing(SQLStore(url)) as successor:
        store.close()
        assert successor.holder() == ELSEWHERE


def test_a_store_of_an_older_library_has_no_holder_until_it_is_opened(store, url, path):
    store.close()
    with sqlite(path) as other:
        other.execute("DROP TABLE gpt_agent_holder")
        with contextlib.closing(SQLStore(url, read_only=True)) as reader:
            assert reader.holder() is None
        with contextlib.closing(SQLStore(url)) as opened:
            assert opened.holder() is not None
            # An older library takes it over: it counts the epoch, and knows nothing of the table.
            other.execute("UPDATE gpt_agent_meta SET epoch = epoch + 1")
            assert opened.holder() is None


def test_the_error_names_the_new_holder(store, url, elsewhere):
    commit(store, idle())
    with contextlib.closing(SQLStore(url)):
        for write in (lambda: commit(store, idle()), lambda: store.accept("thread_1", say())):
            with pytest.raises(StoreTaken, match=r"taken over .* \(process 4711 on other-host, since 2025-06-15 "):
                write()


def test_the_error_names_nobody_if_nobody_left_a_name(store, path):
    commit(store, idle())
    with sqlite(path) as other:
        other.execute("UPDATE gpt_agent_meta SET epoch = epoch + 1")
    with pytest.raises(
        StoreTaken, match=r"agents\.db; this one can no longer write\. .* gpt_agent_fsm\.cluster\.Cluster"
    ):
        commit(store, idle())


# --- a check before the takeover ----------------------------------------------------------------------------------


def refuse(holder):
    raise StoreError(f"{holder} needs it.")


def test_a_check_that_raises_leaves_the_database_to_its_holder(store, url):
    commit(store, idle())
    with pytest.raises(StoreError, match=rf"^process {os.getpid()} on .* needs it\.$"):
        SQLStore(url, check_holder=refuse)
    assert store.is_owned()
    commit(store, idle())


def test_a_check_that_raises_nothing_lets_the_store_take_the_database_over(store, url):
    asked = []
    with contextlib.closing(SQLStore(url, check_holder=asked.append)) as later:
        assert later.is_owned()
    assert [holder.pid for holder in asked] == [os.getpid()]


def test_a_database_without_a_holder_is_not_checked(store, url):
    store.close()
    SQLStore(url, check_holder=refuse).close()


# --- the agents -----------------------------------------------------------------------------------------------


class World:
    """Two agents of a runtime whose store is taken over."""

    def __init__(self, url):
        self.server, self.scheduler, self.heard = SimulatedServer(), VirtualScheduler(), []
        self.runtime = Runtime(self.server, store=SQLStore(url), scheduler=self.scheduler)
        self.agent, self.other = (self.connect(self.runtime.create_thread()) for _ in range(2))
        self.scheduler.settle()
        self.successor = SQLStore(url)

    def connect(self, thread_id):
        return self.runtime.connect(
            thread_id=thread_id,
            assistant_id="asst_1",
            last_message_id=None,
            subscribe=lambda _agent, event: self.heard.append(event),
        )


@pytest.fixture
def world(url):
    made = World(url)
    with contextlib.closing(made.successor):
        yield made
        made.runtime.close()


def stopped(agent):
    return events.AgentStopped(thread_id=agent.thread_id, reason="store_taken")


CALLS = {
    "add_user_message": lambda agent: agent.add_user_message("Hello"),
    "submit_tool_output": lambda agent: agent.submit_tool_output("call_1", {}),
    "set_assistant_id": lambda agent: agent.set_assistant_id("asst_2"),
    "cancel_run": lambda agent: agent.cancel_run(),
    "shutdown": lambda agent: agent.shutdown(),
    "wait": lambda agent: agent.wait(1),
    "state": lambda agent: agent.state,
    "run_in_progress": lambda agent: agent.run_in_progress,
}


def test_an_error_of_a_taken_store_is_that_of_an_agent_that_is_not_alive():
    assert issubclass(StoreTaken, StoreError)
    assert issubclass(StoreTaken, AgentNotAlive)


def test_a_command_raises_at_once_and_all_agents_stop(world):
    with pytest.raises(StoreTaken):
        world.agent.add_user_message("Hello")
    with pytest.raises(StoreTaken):
        world.agent.wait(60)
    world.scheduler.settle()
    assert world.runtime.agents == ()
    assert {stopped(world.agent), stopped(world.other)} <= set(world.heard)
    assert not world.agent.alive
    assert not world.other.alive


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_from_then_on_every_call_raises_and_names_the_holder(world, call):
    with pytest.raises(StoreTaken):
        world.agent.cancel_run()
    world.scheduler.settle()
    for agent in (world.agent, world.other):
        with pytest.raises(StoreTaken, match=f"process {os.getpid()} on "):
            call(agent)
        assert repr(agent) == f"<Agent {agent.thread_id} not alive>"
    assert attrs.asdict(world.successor.holder())["pid"] == os.getpid()


def test_a_tick_that_cannot_commit_stops_the_agents(url, caplog):
    world = World(url)
    world.successor.close()
    world.runtime.close()
    server, scheduler = SimulatedServer(), VirtualScheduler()
    with Runtime(server, store=SQLStore(url), scheduler=scheduler) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
        agent.add_user_message("Hello")
        with contextlib.closing(SQLStore(url)):
            scheduler.advance(5)
            with pytest.raises(StoreTaken):
                agent.wait(60)
    assert "the tick failed" not in caplog.text
    assert [message.content for message in server.messages(agent.thread_id)] == []


def test_connecting_again_raises_and_does_not_wait_for_the_agent_to_stop(world):
    for _ in range(2):
        with pytest.raises(StoreTaken):
            world.connect(world.agent.thread_id)
    world.scheduler.settle()
    with pytest.raises(StoreTaken):
        world.connect(world.agent.thread_id)
    assert world.runtime.agents == ()
