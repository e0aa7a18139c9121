"""The stream of server-sent events, and what it learns from a runtime or from a store alone."""

import json
import threading
from contextlib import closing

import attrs
import pytest

from gpt_agent_fsm import Runtime, events, signals
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.inspector import changes, inspector
from gpt_agent_fsm.inspector.changes import Heard, Polled, changes_of, stream
from gpt_agent_fsm.inspector.source import Source
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.stores.helpers import an_event, commit, idle


@pytest.fixture
def quick(monkeypatch):
    """Streams that ask for changes again and again, without a pause."""
    for kind in (Heard, Polled):
        monkeypatch.setattr(kind, "interval", 0.001)


def threads_in(event):
    """Return the ids in a server-sent event."""
    name, data = event.decode().strip().split("\n")
    assert name == "event: changed"
    return json.loads(data.removeprefix("data: "))["threads"]


def events_of(answer):
    """Return the server-sent events of an answer, which have ids."""
    return (chunk for chunk in answer.response if chunk.startswith(b"event"))


# --- a runtime -----------------------------------------------------------------------------------------------


def test_a_commit_of_a_runtime_is_a_change_of_its_thread(world):
    with closing(changes_of(Source(world.runtime))) as heard:
        assert heard.take() == set()
        first, second = world.talk("Hello"), world.talk("Hello")
        assert heard.take() == {first.thread_id, second.thread_id}
        assert heard.take() == set()


def test_a_runtime_is_asked_for_changes_at_most_once_a_second():
    assert Heard.interval >= 1.0
    assert 1.0 <= Polled.interval <= 2.0


def test_the_end_of_an_agent_is_a_change(world):
    agent = world.talk("Hello")
    with closing(changes_of(Source(world.runtime))) as heard:
        agent.shutdown()
        world.scheduler.advance(1)
        assert heard.take() == {agent.thread_id}


def test_the_events_of_another_runtime_are_no_changes(world):
    scheduler, server = VirtualScheduler(), SimulatedServer()
    with Runtime(server, scheduler=scheduler) as other, closing(changes_of(Source(world.runtime))) as heard:
        agent = other.start("asst_1")
        agent.add_user_message("Hello")
        scheduler.advance(5)
        assert other.history(agent.thread_id)
        assert heard.take() == set()


def listening(world):
    """Return everything that listens to the runtime."""
    return [*world.runtime._roster.trace.hooks, *signals.agent_stopped.receivers, *signals.event.receivers]


def test_a_page_that_is_open_answers_no_tool_call(world):
    with closing(changes_of(Source(world.runtime))):
        assert not list(signals.receivers(None, events.ToolCallRequested))


def test_a_closed_stream_listens_no_longer(world):
    before = listening(world)
    with world.client.get("/events") as answer:
        assert next(iter(answer.response)).startswith(b"retry:")
        assert len(listening(world)) == len(before) + 2
    assert listening(world) == before


def test_a_stream_whose_body_is_never_read_listens_to_nothing(world):
    before = listening(world)
    with world.app.test_request_context("/events"):
        answer = world.app.dispatch_request()
        assert listening(world) == before
        answer.close()


def test_a_stream_that_is_dropped_does_not_stay_connected(world, caplog):
    before = listening(world)
    body = stream(lambda: changes_of(Source(world.runtime)), None, threading.Event())
    next(body)
    del body
    world.talk("Hello")
    assert listening(world) == before
    assert "is gone" not in caplog.text


@pytest.mark.usefixtures("quick")
def test_the_stream_sends_the_ids_of_changed_threads(world):
    agent = world.talk("Hello")
    with world.client.get("/events") as answer:
        assert answer.mimetype == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        chunks = events_of(answer)
        agent.add_user_message("Again")
        world.scheduler.advance(5)
        assert threads_in(next(chunks)) == [agent.thread_id]


@pytest.mark.usefixtures("quick")
def test_the_stream_of_one_thread_sends_nothing_about_others(world):
    wanted, other = world.talk("Hello"), world.talk("Hello")
    with world.client.get(f"/events?thread={wanted.thread_id}") as answer:
        chunks = events_of(answer)
        for agent in (other, wanted):
            agent.add_user_message("Again")
            world.scheduler.advance(5)
        assert threads_in(next(chunks)) == [wanted.thread_id]


@pytest.mark.usefixtures("quick")
def test_a_quiet_stream_sends_comments_that_show_whether_the_page_is_open(world, monkeypatch):
    monkeypatch.setattr(changes, "_KEEP_ALIVE", 0.0)
    with world.client.get("/events") as answer:
        chunks = iter(answer.response)
        assert [next(chunks)[:1] for _ in range(3)] == [b"r", b":", b":"]


def test_all_streams_end_with_the_server(world):
    with world.client.get("/events") as answer:
        world.app.closing.set()
        assert [chunk[:5] for chunk in answer.response] == [b"retry"]


# --- a store alone ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sql", "file"])
def store(request, tmp_path):
    places = {"sql": "sqlite://", "file": f"sqlite:///{tmp_path}/agents.db"}
    with closing(MemoryStore() if request.param == "memory" else SQLStore(places[request.param])) as store:
        yield store


@pytest.fixture
def poll_always(monkeypatch):
    """Polls that need not wait because the last one took long."""
    monkeypatch.setattr(changes, "_SHARE", float("inf"))


@pytest.mark.usefixtures("poll_always")
def test_a_record_a_command_and_a_new_thread_of_a_store_are_changes(store):
    commit(store, idle("thread_1"))
    commit(store, idle("thread_2"))
    polled = changes_of(Source(store))
    assert polled.take() == set()
    commit(store, idle("thread_1"), an_event("thread_1"))
    assert polled.take() == {"thread_1"}
    number = store.accept("thread_2", CancelRun())
    assert polled.take() == {"thread_2"}
    commit(store, idle("thread_2"), consumed=number)
    commit(store, idle("thread_3"))
    assert polled.take() == {"thread_2", "thread_3"}
    assert polled.take() == set()


@pytest.mark.usefixtures("poll_always")
def test_a_poll_without_changes_does_not_list_the_threads_of_a_database(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/agents.db"
    with closing(SQLStore(url)) as owner, closing(SQLStore(url, read_only=True)) as reader:
        commit(owner, idle())
        polled = changes_of(Source(reader))
        asked = []
        monkeypatch.setattr(reader, "thread_marks", lambda: asked.append("marks") or {"thread_1": 1})
        assert polled.take() == set()
        assert asked == []
        commit(owner, idle(), an_event())
        assert polled.take() == {"thread_1"}
        assert asked == ["marks"]


def test_a_store_that_answers_slowly_is_polled_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(changes.time, "monotonic", lambda: now[0])
    source = Source(MemoryStore())
    listed = []

    def rows():
        listed.append(now[0])
        now[0] += 0.1
        return []

    monkeypatch.setattr(source, "rows", rows)
    polled = Polled(source)
    for _ in range(100):
        polled.take()
        now[0] += 1.0
    assert 0.1 * len(listed) / now[0] <= 0.03


@pytest.mark.usefixtures("quick", "poll_always")
def test_the_stream_of_a_store_that_another_process_drives_sends_its_changes(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db"
    with closing(SQLStore(url)) as owner, closing(SQLStore(url, read_only=True)) as reader:
        commit(owner, idle())
        with inspector(reader).test_client().get("/events") as answer:
            chunks = events_of(answer)
            commit(owner, attrs.evolve(idle(), assistant_id="asst_2"), an_event())
            assert threads_in(next(chunks)) == ["thread_1"]


@pytest.mark.usefixtures("quick", "poll_always")
def test_a_stream_ends_with_its_store(tmp_path):
    store = SQLStore(f"sqlite:///{tmp_path}/agents.db")
    with inspector(store).test_client().get("/events") as answer:
        store.close()
        assert list(events_of(answer)) == []


def test_a_store_that_fails_ends_the_stream_without_an_error_so_that_the_page_connects_again():
    def fail():
        raise StoreError("The file is locked.")

    assert list(stream(fail, None, threading.Event())) == []
