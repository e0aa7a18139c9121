"""A store that fails, and the change from one agent of a thread to the next."""

import pytest

from gpt_agent_fsm import Runtime, errors, events
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler

# --- a store that fails ---------------------------------------------------------------------------------------


class FullStore(MemoryStore):
    """A store that can be full."""

    full = False

    def accept(self, *args):
        self.check()
        return super().accept(*args)

    def commit(self, *args, **kwargs):
        self.check()
        return super().commit(*args, **kwargs)

    def check(self):
        if self.full:
            raise OSError("No space left on device")


@pytest.fixture
def full(world):
    store = FullStore()
    with Runtime(world.server, store=store, scheduler=world.scheduler) as runtime:
        yield store, runtime
        store.full = False


def test_a_full_store_is_an_error_at_the_call(world, full):
    store, runtime = full
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
    store.full = True
    with pytest.raises(OSError, match="No space"):
        agent.add_user_message("Hello")
    store.full = False
    assert agent.wait(timeout=60) == "idle"
    assert world.server.messages(agent.thread_id) == []


def test_a_full_store_makes_no_agent(full):
    store, runtime = full
    thread_id = runtime.create_thread()
    store.full = True
    with pytest.raises(OSError, match="No space"):
        runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)
    assert runtime.agents == ()


def test_a_store_that_fails_in_between_loses_nothing(world, full, caplog):
    store, runtime = full
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
    agent.add_user_message("Hello")
    store.full = True
    world.scheduler.advance(5)
    assert world.server.messages(agent.thread_id) == []
    assert "the tick failed; trying again" in caplog.text
    store.full = False
    assert agent.wait(timeout=60) == "idle"
    assert [message.content for message in world.server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


def test_a_store_that_fails_for_a_known_reason_is_a_line_in_the_log_without_a_traceback(world, caplog, monkeypatch):
    agent = world.connect()

    def fail(*_args, **_options):
        raise errors.StoreError("Using the database failed: it is away.")

    with monkeypatch.context() as patch:
        patch.setattr(world.runtime._store, "commit", fail)
        agent.add_user_message("Hello")
        world.scheduler.advance(5)
    lines = [record for record in caplog.records if "the tick failed; trying again" in record.getMessage()]
    assert {(record.levelname, record.exc_info) for record in lines} == {("WARNING", None)}
    assert "it is away" in lines[0].getMessage()
    assert agent.wait(timeout=60) == "idle"


def test_agents_whose_store_was_taken_over_stop_and_say_so(world, caplog):
    class Taken(MemoryStore):
        taken = False

        def commit(self, *args, **kwargs):
            if self.taken:
                raise errors.StoreTaken("another process has taken over")
            return super().commit(*args, **kwargs)

        def close(self):
            raise errors.StoreError("not properly")

    store = Taken()
    with Runtime(world.server, store=store, scheduler=world.scheduler) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        store.taken = True
        with pytest.raises(errors.StoreTaken):
            agent.wait(60)
        # The caller of `wait` is told after the handlers.
        assert world.heard[-1] == events.AgentStopped(thread_id=agent.thread_id, reason="store_taken")
        assert not agent.alive
        assert runtime.agents == ()
        assert world.heard[-1] == events.AgentStopped(thread_id=agent.thread_id, reason="store_taken")
        assert caplog.text.count("another process has taken over") == 1
        assert world.server.messages(agent.thread_id) == []
        with pytest.raises(errors.StoreTaken, match="another process has taken over"):
            agent.add_user_message("Again")
    assert "the store could not be closed properly" in caplog.text


def test_an_idle_agent_stops_at_once_when_a_command_shows_that_its_store_was_taken(world):
    class Taken(MemoryStore):
        taken = False

        def accept(self, *args):
            if self.taken:
                self.taken = False
                raise errors.StoreTaken("another process has taken over")
            return super().accept(*args)

    store = Taken()
    with Runtime(world.server, store=store, scheduler=world.scheduler) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        world.scheduler.settle()
        store.taken = True
        for _ in range(2):
            with pytest.raises(errors.StoreTaken, match="another process has taken over"):
                agent.add_user_message("Hello")
        world.scheduler.settle()
        assert runtime.agents == ()
        assert world.heard[-1] == events.AgentStopped(thread_id=agent.thread_id, reason="store_taken")


# --- between one agent and the next --------------------------------------------------------------------------


class Moment(MemoryStore):
    """A store that fails in one of its calls."""

    failing = ""

    def load(self, thread_id):
        if self.failing == "load":
            self.failing = ""
            raise OSError("one moment")
        return super().load(thread_id)


def test_a_successor_that_cannot_begin_at_once_begins_later(world):
    store, made = Moment(), []
    with Runtime(world.server, store=store, scheduler=world.scheduler) as runtime:

        def replace(agent, event):
            if isinstance(event, events.RunStarted) and not made:
                agent.shutdown()
                made.append(runtime.connect(thread_id=agent.thread_id, assistant_id="a", last_message_id=None))
                made[0].add_user_message("two")
                store.failing = "load"

        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=replace
        )
        agent.add_user_message("one")
        world.scheduler.advance(30)
        assert made[0].wait(timeout=60) == "idle"
        said = [m.content for m in world.server.messages(agent.thread_id) if m.role == "user"]
        assert said == ["one", "two"]


def test_an_agent_that_could_not_be_made_is_not_alive_for_a_caller_that_found_it(full):
    store, runtime = full
    found = []
    work = store.commit

    def find_and_fail(snapshot, **_):
        found.append(runtime.get(snapshot.thread_id))
        raise OSError("No space left on device")

    thread_id = runtime.create_thread()
    store.commit = find_and_fail
    with pytest.raises(OSError, match="No space"):
        runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)
    store.commit = work
    assert not found[0].alive
    assert runtime.get(thread_id) is None


def test_a_runtime_that_cannot_start_leaves_no_threads_behind():
    import threading

    class Broken(MemoryStore):
        def unfinished(self):
            raise OSError("unreadable")

    before = threading.active_count()
    with pytest.raises(OSError, match="unreadable"):
        Runtime(SimulatedServer(), store=Broken())
    assert threading.active_count() == before


def test_a_thread_that_cannot_be_resumed_ends_the_start_and_its_threads():
    import threading

    store = Moment()
    with Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
    before = threading.active_count()
    store.history = store.load = None
    store.commit = None
    with pytest.raises(TypeError):
        Runtime(SimulatedServer(), store=store)
    assert threading.active_count() == before


def test_closing_in_a_handler_releases_the_store_when_the_handler_has_returned(world):
    closed = []

    class Watched(MemoryStore):
        def close(self):
            closed.append("store")

    def close(agent, event):
        if isinstance(event, events.UserMessageAdded):
            runtime.close()
            closed.append("handler")

    runtime = Runtime(world.server, store=Watched(), scheduler=VirtualScheduler())
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=close)
    agent.add_user_message("Hello")
    runtime.scheduler.advance(5)
    runtime.close()
    assert closed == ["handler", "store"]
    assert not runtime._store.load(agent.thread_id).snapshot.pending.sent
