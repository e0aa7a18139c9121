"""The handles of one process: what a follower shows, announces and forgets."""

import contextlib
import threading

import pytest

from gpt_agent_fsm import Settings, errors, events
from gpt_agent_fsm.cluster.follower import Follower, HeardPieces
from gpt_agent_fsm.cluster.handles import Followed
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.events import AssistantMessageAdded, AssistantMessageDelta
from gpt_agent_fsm.machine.inputs import CancelRun
from tests.cluster.helpers import PATIENCE, Fails, query
from tests.cluster.worlds import ASSISTANT, Listener, drives, wait_until
from tests.stores.helpers import an_event, busy, commit, idle, say


def piece(text, index=0, message_id="msg_1"):
    values = {"thread_id": "thread_1", "run_id": "run_1", "message_id": message_id}
    return AssistantMessageDelta(index=index, text=text, **values)


class FollowedThread:
    """A follower of one thread, which a test ticks by hand, and what it announces."""

    def __init__(self, process, reader):
        self.heard, self.wakes = [], 0
        self.follower = Follower(
            idle(), Settings(), reader, process.accepting, process.clock, Trace(process.clock), lambda name: False
        )
        self.follower.wake = self.wake
        self.follower.begin()
        self.follower.announcer.sender = self
        self.follower.join(lambda _agent, event: self.heard.append(event), None, stream=True)
        self.thread_id, self.alive = "thread_1", True

    def wake(self):
        self.wakes += 1

    def tick(self):
        due = self.follower.tick()
        while due is not None and due <= self.follower._clock.monotonic():
            due = self.follower.tick()
        return due


class FollowedBriefly:
    """A follower without a thread."""

    def __init__(self):
        self.thread_id, self.heard_seq, self.is_let_go = "thread_1", 0, False

    def begin(self):
        """Read nothing."""


class Reader:
    """The store of a follower: a reader whose announcements nobody notes."""

    def __init__(self, process):
        self._reader, self.looks = process.database.reader, 0

    def __getattr__(self, name):
        return getattr(self._reader, name)

    def news(self, thread_id, **page):
        self.looks += 1
        return self._reader.news(thread_id, **page)

    def announced(self, thread_id, seq):
        pass


@pytest.fixture
def reader(other):
    return Reader(other)


@pytest.fixture
def followed(process, other, reader):
    """A thread that the first process drives, and the second one follows."""
    process.make_thread()
    process.leases.claim("thread_1")
    commit(process.store, idle(), an_event(run_id="run_0"))
    return FollowedThread(other, reader)


# --- a follower -----------------------------------------------------------------------------------------------


def test_a_follower_announces_what_comes_after_its_beginning_once_in_order(process, followed):
    commit(process.store, busy(), an_event(run_id="run_1"), an_event(run_id="run_2"))
    followed.follower.note_change()
    followed.tick()
    commit(process.store, busy(), an_event(run_id="run_3"))
    for _ in range(3):
        followed.follower.note_change()
        followed.tick()
    assert [event.id for event in followed.heard] == ["run_1", "run_2", "run_3"]
    assert followed.follower.snapshot == busy()


def test_a_follower_that_is_not_told_of_a_change_asks_nobody(followed, reader):
    followed.tick()
    looks = reader.looks
    for _ in range(3):
        assert followed.tick() is None
    assert reader.looks == looks
    followed.follower.note_change()
    followed.tick()
    assert reader.looks == looks + 1


def test_a_follower_reads_many_records_in_pages(process, followed, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.cluster.follower._PAGE", 3)
    commit(process.store, idle(), *(an_event(run_id=f"run_{number}") for number in range(1, 11)))
    followed.follower.note_change()
    followed.tick()
    assert [event.id for event in followed.heard] == [f"run_{number}" for number in range(1, 11)]


def test_a_follower_shows_a_snapshot_only_with_every_record_that_it_implies(process, followed, reader, monkeypatch):
    """Another commit comes between the two pages of a look."""
    monkeypatch.setattr("gpt_agent_fsm.cluster.follower._PAGE", 2)
    commit(process.store, idle(), *(an_event(run_id=f"run_{number}") for number in (1, 2, 3)))
    read = reader.news

    def commit_later(thread_id, **page):
        saved = read(thread_id, **page)
        if reader.looks == 1:
            commit(process.store, busy(), an_event(run_id="run_4"), an_event(run_id="run_5"))
        return saved

    reader.looks = 0
    monkeypatch.setattr(reader, "news", commit_later)
    followed.follower.note_change()
    followed.tick()
    assert [event.id for event in followed.heard] == [f"run_{number}" for number in range(1, 6)]
    assert followed.follower.snapshot == busy()


def test_a_follower_continues_after_records_that_were_pruned(process, followed):
    commit(process.store, idle(), an_event(run_id="run_1"), an_event(run_id="run_2"))
    query(process.url, "DELETE FROM gpt_agent_events WHERE seq <= 3")
    followed.follower.note_change()
    assert followed.tick() is None
    commit(process.store, idle(), an_event(run_id="run_3"))
    followed.follower.note_change()
    assert followed.tick() is None
    assert [event.id for event in followed.heard] == ["run_3"]


def test_a_follower_whose_look_fails_tries_again_after_a_pause(process, followed, reader, caplog, monkeypatch):
    followed.tick()

    def fail(thread_id, **page):
        raise errors.StoreError("no connection")

    monkeypatch.setattr(reader, "news", fail)
    commit(process.store, idle(), an_event(run_id="run_1"))
    followed.follower.note_change()
    due = followed.follower.tick()
    assert due == followed.follower._clock.monotonic() + Settings().request_retry_delay
    assert "thread_1: the look failed; trying again: no connection" in caplog.text
    assert not followed.follower.is_settled()
    assert followed.follower.explain() == (
        "The thread cannot be read, so its last known state, idle, may be old. no connection"
    )
    monkeypatch.undo()
    followed.tick()
    assert "cannot be read" not in followed.follower.explain()
    assert [event.id for event in followed.heard] == ["run_1"]


def test_a_follower_whose_thread_is_gone_does_not_ask_without_a_pause(process, followed, reader):
    followed.tick()
    query(process.url, "DELETE FROM gpt_agent_threads")
    followed.follower.note_change()
    for _ in range(5):
        due = followed.follower.tick()
        assert due is None or due > followed.follower._clock.monotonic(), "it asks again and again"


def test_a_follower_is_settled_only_after_it_has_looked(process, followed):
    followed.tick()
    assert followed.follower.is_settled()
    followed.follower.send(say())
    assert not followed.follower.is_settled()
    followed.tick()
    assert not followed.follower.is_settled(), "a command waits"
    assert followed.follower.commands() == [say()]
    commit(process.store, busy(), consumed=1)
    followed.follower.note_change()
    followed.tick()
    assert not followed.follower.is_settled(), "a run is in progress"
    commit(process.store, idle(), an_event())
    followed.follower.note_change()
    assert not followed.follower.is_settled(), "it has not looked yet"
    followed.tick()
    assert followed.follower.is_settled()


def test_a_follower_that_is_stopped_says_so_once_and_announces_nothing_more(process, followed):
    followed.follower.stop("shutdown")
    followed.follower.stop("another reason")
    commit(process.store, idle(), an_event(run_id="run_1"))
    followed.follower.note_change()
    for _ in range(2):
        assert followed.follower.tick() is None
    assert followed.heard == [events.AgentStopped(thread_id="thread_1", reason="shutdown")]
    with pytest.raises(errors.AgentNotAlive, match=r"was stopped \(shutdown\); connect again"):
        followed.follower.send(CancelRun())
    assert process.store.load("thread_1").inbox == ()


def test_a_command_that_fails_leaves_the_handle_alive(followed, other):
    fails = Fails(other.database)
    fails.before = 1
    with pytest.raises(errors.StoreError):
        followed.follower.send(CancelRun())
    followed.follower.check_alive()
    followed.follower.send(CancelRun())


# --- pieces ---------------------------------------------------------------------------------------------------


def added(message_id="msg_1", content="Hello"):
    values = {"thread_id": "thread_1", "run_id": "run_1", "assistant_id": "asst_1"}
    return AssistantMessageAdded(message_id=message_id, content=content, **values)


def test_pieces_come_before_the_whole_message_and_late_ones_are_dropped(process, followed):
    followed.follower.add_piece(piece("Hel"))
    followed.tick()
    followed.follower.add_piece(piece("lo", 1))
    commit(process.store, idle(), added())
    followed.follower.note_change()
    followed.tick()
    followed.follower.add_piece(piece("!", 2))
    followed.tick()
    assert followed.heard == [piece("Hel"), piece("lo", 1), added()]


def test_a_new_handle_drops_the_late_pieces_of_a_message_that_is_history(process, followed, other, reader):
    commit(process.store, idle(), added())
    followed = FollowedThread(other, reader)
    followed.follower.add_piece(piece("Hel"))
    followed.tick()
    assert followed.heard == []


def test_pieces_of_another_message_are_announced():
    pieces = HeardPieces()
    for delta in (piece("a"), piece("b", message_id="msg_2")):
        pieces.add(delta)
    assert pieces.is_reading
    assert list(pieces.deltas_before(added())) == [piece("a"), piece("b", message_id="msg_2")]
    pieces.add(piece("late", 1))
    pieces.add(piece("c", 1, message_id="msg_2"))
    assert list(pieces.deltas()) == [piece("c", 1, message_id="msg_2")]
    assert not pieces.is_reading


# --- who is silent ----------------------------------------------------------------------------------------------


def test_the_owner_is_silent_about_records_that_a_handle_of_its_process_announces(followed):
    seen, follower = Followed(), followed.follower
    assert not seen.has("thread_1", 2)
    assert not seen.has("thread_1", None)
    seen.begin(follower)
    assert [seen.has("thread_1", seq) for seq in (1, 2, None)] == [False, True, True]
    assert not seen.has("thread_2", 2)
    seen.remove(follower)
    seen.remove(follower)
    assert not seen.has("thread_1", 2)


# --- the roster -------------------------------------------------------------------------------------------------


def test_one_runtime_has_one_handle_of_a_thread(world):
    runtime = world.open()
    agent = runtime.start(ASSISTANT)
    one, two = Listener(), Listener()
    for listener in (one, two):
        again = runtime.connect(
            thread_id=agent.thread_id, assistant_id="asst_2", last_message_id=None, subscribe=listener
        )
        assert again is agent
    assert runtime.agents == (agent,)
    assert runtime.get(agent.thread_id) is agent
    assert runtime.get("thread_0") is None
    world.open_worker()
    agent.ask("Hello", timeout=PATIENCE)
    agent.wait(PATIENCE)
    assert one.lasting == two.lasting != []
    assert agent.assistant_id == "asst_2"


def test_a_thread_that_the_server_does_not_know_gets_no_handle(world):
    runtime = world.open()
    with pytest.raises(errors.InvalidThreadId):
        runtime.connect(thread_id="thread_0", assistant_id=ASSISTANT, last_message_id=None)
    assert runtime.agents == ()
    assert query(world.url, "SELECT count(*) FROM gpt_agent_owners") == [(0,)]


def test_a_handle_whose_first_command_fails_is_not_there(world):
    runtime = world.open()
    thread_id, fails = runtime.create_thread(), Fails(runtime.store._database)
    fails.before = 2

    def connect():
        return runtime.connect(thread_id=thread_id, assistant_id=ASSISTANT, last_message_id=None)

    with pytest.raises(errors.StoreError):
        connect()
    assert runtime.agents == ()
    fails.before = 0
    assert connect().alive


def test_a_look_tells_each_handle_once_of_what_it_has_missed(process, world):
    runtime = world.open()
    handles = [runtime.start(ASSISTANT)._driver for _ in range(2)]
    roster = runtime._own_roster
    roster.look()
    wakes = []
    for handle in handles:
        handle.note_change = lambda handle=handle: wakes.append(handle)
    roster.look()
    assert wakes == []
    process.accepting.accept(handles[0].thread_id, CancelRun())
    wait_until(lambda: roster.look() or wakes)
    assert set(wakes) == {handles[0]}


def test_a_closed_runtime_refuses_everything_and_leaves_the_threads_to_others(world):
    runtime, worker = world.open(), world.open_worker()
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    runtime.close()
    runtime.close()
    with pytest.raises(errors.RuntimeClosed):
        runtime.start(ASSISTANT)
    with pytest.raises(errors.AgentNotAlive, match="make a new runtime and connect"):
        agent.add_user_message("Hello")
    assert drives(worker, agent.thread_id)
    world.let_go()
    wait_until(lambda: len(world.messages(agent.thread_id)) == 2)


def test_the_waiter_of_a_handle_that_is_let_go_is_woken(world):
    runtime, raised = world.open(), []
    agent = runtime.start(ASSISTANT)

    def wait():
        with contextlib.suppress(errors.AgentNotAlive):
            agent.wait()
            return
        raised.append(True)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    agent.shutdown()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    assert raised == [True]


def test_the_tracer_of_a_runtime_sees_what_its_handles_accept(world):
    runtime, seen = world.open(), []
    runtime.add_trace(lambda name, info: seen.append((name, dict(info))))
    agent = runtime.start(ASSISTANT)
    key = agent.add_user_message("Hello")
    assert ("message_accepted", {"thread_id": agent.thread_id, "key": key}) in seen


# --- the runtime is closed while a handle begins -------------------------------------------------------------------


def test_a_signal_handler_may_close_the_runtime_while_a_handle_begins(world, monkeypatch):
    world.open_worker()
    runtime, begin = world.open(), Follower.begin

    def begin_and_close(follower):
        begin(follower)
        runtime.close()

    monkeypatch.setattr(Follower, "begin", begin_and_close)
    with pytest.raises((errors.AgentNotAlive, errors.RuntimeClosed)):
        runtime.start(ASSISTANT)
    assert runtime.store._followed._begins == {}, "no handle announces the events of the thread"


def test_a_handle_that_is_let_go_before_it_begins_is_not_followed():
    followed, follower = Followed(), FollowedBriefly()
    followed.remove(follower)
    followed.begin(follower)
    assert not followed.has("thread_1", None)
