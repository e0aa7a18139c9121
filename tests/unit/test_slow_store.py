"""A store that fails or takes long: nothing is decided twice, and nobody waits without need."""

import threading

import pytest

from gpt_agent_fsm import Runtime, Settings, events
from gpt_agent_fsm.errors import StoreError, WaitTimeout
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer

PATIENCE = 20


class Recorded(MemoryStore):
    """A store that records its commits, and fails while told to, before or after a commit takes effect."""

    def __init__(self):
        super().__init__()
        self.fails, self.commits = False, []

    def commit(self, snapshot, *, consumed, events, **options):
        self.commits.append((snapshot, consumed, list(events)))
        if self.fails:
            raise StoreError("It is unknown whether it took effect.")
        return super().commit(snapshot, consumed=consumed, events=events, **options)


@pytest.fixture
def recorded(world):
    store = Recorded()
    with Runtime(world.server, store=store, scheduler=world.scheduler) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
        yield store, runtime, agent
        store.fails = False


# --- a commit that failed -------------------------------------------------------------------------------------


@pytest.fixture
def lost_at_post(world, recorded, monkeypatch):
    """Let the store fail as soon as a message was posted."""
    store, post = recorded[0], world.server.post_message

    def post_and_lose_the_store(*args, **options):
        monkeypatch.undo()
        store.fails = True
        store.commits.clear()
        return post(*args, **options)

    monkeypatch.setattr(world.server, "post_message", post_and_lose_the_store)


@pytest.mark.usefixtures("lost_at_post")
def test_a_failed_commit_is_repeated_unchanged_even_if_inputs_arrived_after_it(world, recorded):
    store, _, agent = recorded
    agent.add_user_message("one")
    world.scheduler.settle()
    agent.add_user_message("two")
    agent.set_assistant_id("asst_2")
    world.scheduler.advance(5)
    repeated = list(store.commits)
    store.fails = False
    assert agent.wait(60) == "idle"
    assert repeated[0][2], "the test needs a commit with events"
    assert len(repeated) > 2
    assert all(commit == repeated[0] for commit in (*repeated, store.commits[len(repeated)]))
    assert [m.content for m in world.server.messages(agent.thread_id) if m.role == "user"] == ["one", "two"]


@pytest.mark.usefixtures("lost_at_post")
def test_a_decision_that_could_not_be_saved_is_saved_before_the_agent_leaves(world, recorded):
    store, _, agent = recorded
    agent.add_user_message("Hello")
    world.scheduler.settle()
    assert store.load(agent.thread_id).snapshot.queue, "the test needs an answer that is not saved"
    store.fails = False
    agent.shutdown()
    world.scheduler.settle()
    saved = store.load(agent.thread_id)
    assert not saved.snapshot.queue
    assert [type(record.event).__name__ for record in store.history(agent.thread_id)] == ["UserMessageAdded"]


def test_an_agent_whose_store_stays_unavailable_leaves_nevertheless(world, recorded):
    store, _, agent = recorded
    world.heard.clear()
    agent.add_user_message("Hello")
    store.fails = True
    world.scheduler.settle()
    agent.shutdown()
    world.scheduler.settle()
    assert events.AgentStopped(thread_id=agent.thread_id, reason="shutdown") in world.heard


def test_a_successor_that_could_not_begin_at_once_announces_nothing_twice(world, recorded, monkeypatch):
    store, runtime, agent = recorded
    heard, made = [], []

    def replace(agent, event):
        # The last event: no request follows.
        if isinstance(event, events.AssistantMessageAdded) and not made:
            agent.shutdown()
            made.append(
                runtime.connect(
                    thread_id=agent.thread_id,
                    assistant_id="asst_1",
                    last_message_id=None,
                    subscribe=lambda _agent, event: heard.append(event),
                )
            )
            # The successor begins with records that were not announced, and cannot save its first decision.
            monkeypatch.setattr(store, "announced", lambda _thread_id, _seq: None)
            store.fails = True

    runtime.connect(thread_id=agent.thread_id, assistant_id="asst_1", last_message_id=None, subscribe=replace)
    agent.add_user_message("Hello")
    world.scheduler.advance(10)
    assert made
    store.fails = False
    assert made[0].wait(60) == "idle"
    history = [record.event for record in store.history(agent.thread_id)]
    assert heard == history[-len(heard) :]
    assert len(heard) > 0


# --- a store that takes long ----------------------------------------------------------------------------------


class Slow(MemoryStore):
    """A store whose calls wait while told to."""

    def __init__(self):
        super().__init__()
        self.reached, self.may_go_on = threading.Semaphore(0), threading.Event()
        self.may_go_on.set()

    def wait(self):
        if not self.may_go_on.is_set():
            self.reached.release()
            assert self.may_go_on.wait(PATIENCE)

    def accept(self, thread_id, command):
        self.wait()
        return super().accept(thread_id, command)

    def commit(self, *args, **options):
        self.wait()
        return super().commit(*args, **options)


@pytest.fixture
def slow():
    store, server = Slow(), SimulatedServer()
    with Runtime(server, Settings(heartbeat_interval=0.05), store) as runtime:
        yield store, server, runtime
        store.may_go_on.set()


def connect(runtime, thread_id):
    return runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None)


def meanwhile(action):
    """Do this in another OS thread."""
    worker = threading.Thread(target=action, daemon=True)
    worker.start()
    return worker


def in_time(action):
    """Do this, and fail if it waits for the store."""
    answers = []
    meanwhile(lambda: answers.append(action())).join(PATIENCE / 2)
    assert answers, "it waits for the store"
    return answers[0]


def posted(server, thread_id):
    return [message.content for message in server.messages(thread_id) if message.role == "user"]


def test_nobody_waits_for_a_command_that_waits_for_the_store(slow):
    store, _, runtime = slow
    agent = connect(runtime, runtime.create_thread())
    assert agent.wait(PATIENCE) == "idle"
    store.may_go_on.clear()
    sending = meanwhile(lambda: agent.add_user_message("Hello"))
    assert store.reached.acquire(timeout=PATIENCE)
    assert in_time(lambda: agent.wait(PATIENCE)) == "idle"
    assert in_time(lambda: agent.last_message_id) is None
    assert in_time(lambda: agent.assistant_id) == "asst_1"
    assert in_time(lambda: runtime.agents) == (agent,)
    assert in_time(agent.shutdown) is None
    store.may_go_on.set()
    sending.join(PATIENCE)


def test_the_next_agent_begins_when_a_command_that_waits_for_the_store_is_there(slow):
    store, server, runtime = slow
    agent = connect(runtime, runtime.create_thread())
    assert agent.wait(PATIENCE) == "idle"
    hold = store.may_go_on = threading.Event()
    sending = meanwhile(lambda: agent.add_user_message("Hello"))
    assert store.reached.acquire(timeout=PATIENCE)
    store.may_go_on = threading.Event()
    store.may_go_on.set()
    agent.shutdown()
    successor = connect(runtime, agent.thread_id)
    with pytest.raises(WaitTimeout):
        successor.wait(0.2)
    hold.set()
    sending.join(PATIENCE)
    assert successor.wait(PATIENCE) == "idle"
    assert posted(server, agent.thread_id) == ["Hello"]


def test_an_idle_agent_does_not_leave_while_a_command_waits_for_the_store(slow):
    store, _, runtime = slow
    agent = connect(runtime, runtime.create_thread())
    assert agent.wait(PATIENCE) == "idle"
    store.may_go_on.clear()
    sending = meanwhile(lambda: agent.add_user_message("Hello"))
    assert store.reached.acquire(timeout=PATIENCE)
    assert not in_time(lambda: agent._driver.stop_if_quiet("idle_timeout"))
    assert agent.alive
    store.may_go_on.set()
    sending.join(PATIENCE)
    assert agent.wait(PATIENCE) == "idle"
    assert agent._driver.stop_if_quiet("idle_timeout")
    assert not agent.alive


def test_a_command_during_connect_is_handled_after_it(slow):
    store, server, runtime = slow
    thread_id = runtime.create_thread()
    store.may_go_on.clear()
    connecting = meanwhile(lambda: connect(runtime, thread_id))
    assert store.reached.acquire(timeout=PATIENCE)
    sending = meanwhile(lambda: runtime.get(thread_id).add_user_message("Hello"))
    assert not store.reached.acquire(timeout=0.05), "the command overtook the connection"
    store.may_go_on.set()
    connecting.join(PATIENCE)
    sending.join(PATIENCE)
    assert runtime.get(thread_id).wait(PATIENCE) == "idle"
    assert posted(server, thread_id) == ["Hello"]
