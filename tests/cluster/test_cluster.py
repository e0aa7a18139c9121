"""Runtimes on one cluster: handles in one process, drivers in another."""

import os
import re
import threading
import uuid
from functools import partial

import pytest
import sqlalchemy as sa
from psycopg import sql

from gpt_agent_fsm import Runtime, errors, events, signals, tool
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.ports import Usage
from gpt_agent_fsm.testing.contracts.store_means import at_once
from tests.cluster.helpers import PATIENCE, query
from tests.cluster.worlds import ASSISTANT, SETTINGS, Listener, drives, driving, wait_until, wait_until_free
from tests.postgresql import PASSWORD
from tests.stores.helpers import texts_of


@pytest.fixture
def worker(world):
    """A runtime that drives."""
    return world.open_worker()


@pytest.fixture
def runtime(world, worker):
    """A runtime that does not drive, beside one that does."""
    return world.open()


@pytest.fixture
def agent(runtime):
    """A handle of a new thread, in the process that does not drive."""
    return runtime.start(ASSISTANT)


def connected(runtime, agent, **options):
    """Return a handle of an agent's thread in another runtime."""
    return runtime.connect(thread_id=agent.thread_id, assistant_id=ASSISTANT, last_message_id=None, **options)


# --- conversations ------------------------------------------------------------------------------------------------


def test_a_process_that_does_not_drive_asks_and_gets_the_answer(world, worker, agent):
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
    assert agent.ask("Again", timeout=PATIENCE).text == "You said: Again"
    assert agent.state == "idle"
    assert world.messages(agent.thread_id) == [
        ("user", "Hello"), ("assistant", "You said: Hello"), ("user", "Again"), ("assistant", "You said: Again"),
    ]  # fmt: skip
    assert drives(worker, agent.thread_id)


def test_a_process_with_handle_and_driver_asks_and_gets_the_answer(worker):
    assert worker.start(ASSISTANT).ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_commands_that_nobody_drives_yet_wait_for_a_worker(world):
    runtime = world.open()
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("Hello")
    with pytest.raises(errors.WaitTimeout):
        agent.wait(0.1)
    world.open_worker()
    assert agent.wait(PATIENCE) == "idle"
    assert world.messages(agent.thread_id) == [("user", "Hello"), ("assistant", "You said: Hello")]


def test_two_runtimes_hear_all_events_of_one_thread_once_each_in_order(world, runtime):
    others = [world.open() for _ in range(2)]
    listeners = [Listener() for _ in range(3)]
    agent = runtime.start(ASSISTANT, subscribe=listeners[0])
    agent.wait(PATIENCE)
    handles = [
        agent,
        *(connected(other, agent, subscribe=each) for other, each in zip(others, listeners[1:], strict=True)),
    ]
    for number in range(6):
        handles[number % 3].add_user_message(f"message {number}")
    for handle in handles:
        assert handle.wait(PATIENCE) == "idle"
    history = [record.event for record in runtime.history(agent.thread_id)]
    assert [each.lasting for each in listeners] == [history] * 3
    assert len([event for event in history if isinstance(event, events.AssistantMessageAdded)]) == 6


def test_a_handle_that_is_made_later_can_hear_the_history(world, runtime, agent):
    agent.ask("Hello", timeout=PATIENCE)
    late, new = Listener(), Listener()
    other = connected(world.open(), agent, subscribe=late, replay_after=0)
    connected(world.open(), agent, subscribe=new)
    other.ask("Again", timeout=PATIENCE)
    for handle in (other, agent):
        handle.wait(PATIENCE)
    history = [record.event for record in runtime.history(agent.thread_id)]
    assert late.lasting == history
    wait_until(lambda: len(new.of(events.AssistantMessageAdded)) == 1)
    assert new.lasting == history[-len(new.lasting) :]


def test_news_that_was_lost_is_found_at_the_next_look(world, runtime, agent, monkeypatch):
    agent.wait(PATIENCE)
    for each in (runtime, world.open()):
        monkeypatch.setattr(each._own_roster, "thread_changed", lambda thread_id: None)
    other, listener = world.open(), Listener()
    monkeypatch.setattr(other._own_roster, "thread_changed", lambda thread_id: None)
    handle = connected(other, agent, subscribe=listener)
    agent.ask("Hello", timeout=PATIENCE)
    other._own_roster.look()
    assert handle.wait(PATIENCE) == "idle"
    assert len(listener.of(events.AssistantMessageAdded)) == 1


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def signalled():
    """The lasting events that signals have sent in this process."""
    heard = []

    def hear(agent, event):
        heard.append(event)

    with signals.event.connected_to(hear):
        yield heard


def test_a_process_with_handle_and_driver_hears_each_signal_once(worker, signalled):
    agent = worker.start(ASSISTANT)
    agent.wait(PATIENCE)
    agent.ask("Hello", timeout=PATIENCE)
    agent.wait(PATIENCE)
    assert signalled == [record.event for record in worker.history(agent.thread_id)]


def test_the_owner_sends_the_signals_of_a_thread_without_a_handle_in_its_process(world, worker, signalled):
    server_events = []
    with world.open() as runtime:
        agent = runtime.start(ASSISTANT)
        agent.wait(PATIENCE)
        server_events.extend(signalled)
        agent.add_user_message("hold")
        world.wait_until_asked("hold")
        thread_id = agent.thread_id
    signalled.clear()
    world.let_go()
    wait_until(lambda: [event for event in signalled if isinstance(event, events.AssistantMessageAdded)])
    told = [event for event in signalled if not isinstance(event, events.AgentStopped)]
    history = [record.event for record in worker.history(thread_id)]
    assert told == history[-len(told) :]
    assert {event.thread_id for event in signalled} == {thread_id}


# --- tools ----------------------------------------------------------------------------------------------------------


def test_a_function_of_the_worker_answers_a_call(world):
    ran = []

    @tool
    def locate(city: str) -> str:
        ran.append(city)
        return "north"

    world.open_worker(tools=[locate])
    agent = world.open().start(ASSISTANT)
    assert agent.ask("call", timeout=PATIENCE).text == 'call: "north"'
    assert ran == ["Oslo"]


def test_a_call_without_a_function_is_answered_from_any_process(world, runtime, agent):
    listener = Listener()
    other = connected(world.open(), agent, subscribe=listener)
    agent.add_user_message("call")
    call = listener.wait_for(events.ToolCallRequested)
    wait_until(lambda: [each.id for each in agent.open_tool_calls] == [call.id])
    other.submit_tool_output(call.id, "south")
    assert agent.wait(PATIENCE) == "idle"
    assert world.messages(agent.thread_id)[-1] == ("assistant", 'call: "south"')
    assert (agent.open_tool_calls, len(listener.of(events.ToolCallRequested))) == ((), 1)


def test_a_call_that_waits_is_announced_to_a_process_that_connects_later(world, runtime, agent):
    agent.add_user_message("call")
    wait_until(lambda: agent.open_tool_calls)
    listener = Listener()
    other = connected(world.open(), agent, subscribe=listener)
    call = listener.wait_for(events.ToolCallRequested)
    assert call.again
    other.submit_tool_output(call.id, "east")
    assert agent.wait(PATIENCE) == "idle"
    assert world.messages(agent.thread_id)[-1] == ("assistant", 'call: "east"')


@pytest.mark.parametrize("approved", [True, False])
def test_a_call_is_approved_or_denied_from_another_process(world, approved):
    ran = []

    @tool(approve=True)
    def locate(city: str) -> str:
        ran.append(city)
        return "north"

    world.open_worker(tools=[locate])
    agent, listener = world.open().start(ASSISTANT), Listener()
    other = connected(world.open(), agent, subscribe=listener)
    agent.add_user_message("call")
    asked = listener.wait_for(events.ToolApprovalRequested)
    assert [each.id for each in other.open_approvals] == [asked.id]
    assert ran == []
    if approved:
        other.approve(asked.id, by="ann")
    else:
        other.deny(asked.id, "too far", by="ann")
    assert agent.wait(PATIENCE) == "idle"
    assert (agent.open_approvals, ran) == ((), ["Oslo"] if approved else [])
    said = world.messages(agent.thread_id)[-1][1]
    assert said == 'call: "north"' if approved else "too far" in said


# --- commands and properties ----------------------------------------------------------------------------------------


def test_a_run_is_cancelled_from_another_process(world, runtime, agent):
    listener = Listener()
    other = connected(world.open(), agent, subscribe=listener)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    other.cancel_run()
    assert listener.wait_for(events.RunFailed).code == "cancelled"
    assert agent.wait(PATIENCE) == other.wait(PATIENCE) == "failed"
    assert other.failure.code == agent.failure.code == "cancelled"


def test_the_queue_is_discarded_from_another_process(world, runtime, agent):
    listener = Listener()
    other = connected(world.open(), agent, subscribe=listener)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    keys = [agent.add_user_message(text) for text in ("second", "third")]
    other.discard_queue()
    assert listener.wait_for(events.MessagesDiscarded).keys == tuple(keys)
    world.let_go()
    assert agent.wait(PATIENCE) == "idle"
    assert [text for role, text in world.messages(agent.thread_id) if role == "user"] == ["hold"]


def test_the_assistant_is_changed_from_another_process(world, runtime, agent):
    listener = Listener()
    other = connected(world.open(), agent, subscribe=listener)
    other.set_assistant_id("asst_2")
    wait_until(lambda: agent.assistant_id == other.assistant_id == "asst_2")
    agent.ask("Hello", timeout=PATIENCE)
    assert listener.wait_for(events.RunStarted).assistant_id == "asst_2"


def test_properties_say_what_the_database_has(world, worker, runtime, agent):
    other = connected(world.open(), agent)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    wait_until(lambda: other.state == agent.state == "running")
    assert other.run_in_progress
    assert other.run_id == agent.run_id is not None
    assert "run" in other.explain()
    assert other.usage == Usage()
    world.let_go()
    assert other.wait(PATIENCE) == agent.wait(PATIENCE) == "idle"
    assert other.usage.total_tokens == agent.usage.total_tokens > 0
    assert other.usage == runtime.usage == worker.usage
    assert other.last_message_id == agent.last_message_id is not None
    assert other.failure is None
    assert "at rest" in other.explain()


def test_the_text_of_a_run_comes_in_pieces_in_another_process(world, runtime):
    listener = Listener()
    agent = runtime.start(ASSISTANT, stream=True)
    other = connected(world.open(), agent, stream=True, subscribe=listener)
    agent.wait(PATIENCE)
    stream = agent.stream("Hello " * 50, timeout=PATIENCE)
    pieces = list(stream)
    whole = stream.answer.text
    assert whole == ("You said: " + "Hello " * 50).rstrip() or whole.startswith("You said: Hello")
    assert whole.startswith("".join(pieces))
    assert pieces
    other.wait(PATIENCE)
    heard = listener.of(events.AssistantMessageDelta)
    assert whole.startswith("".join(piece.text for piece in heard))
    assert [piece.index for piece in heard] == list(range(len(heard)))
    assert listener.heard.index(listener.wait_for(events.AssistantMessageAdded)) >= len(heard)


def test_two_processes_that_start_with_one_key_get_one_thread(world, runtime):
    other = world.open()
    for key in (f"ann {number}" for number in range(5)):
        first, second = at_once(*(partial(each.start, ASSISTANT, key=key) for each in (runtime, other)))
        assert first.thread_id == second.thread_id == runtime.find(key) == other.find(key)
    assert first.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
    assert world.open().start(ASSISTANT, key="ann 4").thread_id == first.thread_id


# --- who drives -----------------------------------------------------------------------------------------------------


def test_a_handle_that_is_shut_down_does_not_stop_the_thread(world, runtime, agent):
    listener, mine = Listener(), Listener()
    other = connected(world.open(), agent, subscribe=listener)
    connected(runtime, agent, subscribe=mine)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    agent.shutdown()
    assert mine.wait_for(events.AgentStopped).reason == "shutdown"
    with pytest.raises(errors.AgentNotAlive, match="connect again"):
        agent.add_user_message("Again")
    assert runtime.agents == ()
    world.let_go()
    assert other.wait(PATIENCE) == "idle"
    assert listener.of(events.AgentStopped) == []
    assert len(listener.of(events.AssistantMessageAdded)) == 1
    assert mine.of(events.AssistantMessageAdded) == []
    again = connected(runtime, agent)
    assert again.ask("Again", timeout=PATIENCE).text == "You said: Again"


def test_a_worker_that_is_closed_in_a_run_leaves_the_thread_to_another(world):
    workers = [world.open_worker() for _ in range(2)]
    listener = Listener()
    agent = world.open().start(ASSISTANT, subscribe=listener)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    [owner] = [worker for worker in workers if drives(worker, agent.thread_id)]
    [successor] = [worker for worker in workers if worker is not owner]
    owner.close()
    wait_until(lambda: drives(successor, agent.thread_id))
    world.let_go()
    assert agent.wait(PATIENCE) == "idle"
    assert world.messages(agent.thread_id) == [("user", "hold"), ("assistant", "You said: hold")]
    assert world.asked == ["hold"]
    assert listener.lasting == [record.event for record in successor.history(agent.thread_id)]
    assert listener.of(events.AgentStopped) == []


def test_a_thread_at_rest_is_let_go_and_its_next_message_is_driven_again(world, worker, agent):
    agent.ask("Hello", timeout=PATIENCE)
    wait_until_free(world)
    assert agent.alive
    assert not drives(worker, agent.thread_id)
    wait_until(lambda: query(world.url, "SELECT count(*) FROM procrastinate_jobs") == [(0,)])
    assert agent.ask("Again", timeout=PATIENCE).text == "You said: Again"


def test_a_thread_that_waits_for_a_tool_is_not_let_go(world, worker, agent):
    listener = Listener()
    connected(world.open(), agent, subscribe=listener)
    agent.add_user_message("call")
    listener.wait_for(events.ToolCallRequested)
    roster = driving(worker).roster
    shift = roster._shifts[agent.thread_id]
    assert not shift.driver.has_come_to_rest


def test_threads_are_spread_over_workers_up_to_their_limits(world):
    workers = [world.open_worker(concurrency=3) for _ in range(2)]
    runtime = world.open()
    agents = [runtime.start(ASSISTANT) for _ in range(6)]
    for number, agent in enumerate(agents):
        agent.add_user_message(f"hold {number}")
    for number in range(6):
        world.wait_until_asked(f"hold {number}")
    assert [len(driving(worker).leases.held) for worker in workers] == [3, 3]
    world.let_go()
    for agent in agents:
        assert agent.wait(PATIENCE) == "idle"
    assert sorted(world.asked) == [f"hold {number}" for number in range(6)]


# --- misuse, forks and the end ----------------------------------------------------------------------------------------


def test_a_cluster_is_the_store_of_one_runtime_at_a_time(world, runtime):
    with pytest.raises(ValueError, match="in use by a runtime that is open; make another Cluster object"):
        Runtime(AssistantsBackend(world.server.base_url, "the-key"), SETTINGS, runtime.store)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///agents.db"])
def test_a_sqlite_url_is_refused_in_one_sentence(url):
    with pytest.raises(
        errors.StoreError, match=r"^A cluster needs PostgreSQL; write its URL like postgresql://"
    ) as caught:
        Cluster(url)
    assert re.fullmatch(r"[^.]*\.", str(caught.value))


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "7", None])
def test_a_wrong_concurrency_is_refused_before_anything_is_opened(concurrency):
    with pytest.raises(ValueError, match=f"concurrency must be a whole number from 1 up, not {concurrency!r}"):
        Cluster("postgresql://nobody@127.0.0.1:1/nothing", concurrency=concurrency)


def test_a_misspelled_argument_is_explained(url):
    with pytest.raises(TypeError, match="drive"):
        Cluster(url, drives=True)


def test_no_secret_is_in_a_repr_a_log_or_an_error(own_postgresql, caplog):
    caplog.set_level("DEBUG")
    url = own_postgresql.new_schema()
    with LocalServer() as server:
        store = Cluster(url, drive=True)
        assert repr(store) == "<Cluster on the PostgreSQL database postgres at 127.0.0.1, driving>"
        with Runtime(AssistantsBackend(server.base_url, "the-key"), SETTINGS, store) as runtime:
            agent = runtime.start(ASSISTANT)
            agent.ask("the moon is made of cheese", timeout=PATIENCE)
            own_postgresql.stop()
            with pytest.raises(errors.StoreError) as caught:
                agent.add_user_message("the moon is made of cheese")
            wait_until(lambda: "news of other processes is not heard" in caplog.text)
            with pytest.raises(errors.StoreError) as also_caught:
                driving(runtime).beat()
            texts = [repr(store), repr(runtime), repr(agent), texts_of(caught.value), texts_of(also_caught.value)]
    for text in (*texts, caplog.text, *map(str, caplog.records)):
        assert PASSWORD not in text
        assert "the-key" not in text
        assert "cheese" not in text


def test_a_closed_cluster_says_so(url):
    cluster = Cluster(url)
    assert repr(cluster) == "<Cluster on the PostgreSQL database postgres at 127.0.0.1>"
    cluster.close()
    cluster.close()
    with pytest.raises(errors.StoreError, match="This store was closed; make a new one"):
        cluster.mark()


def test_closing_a_runtime_ends_its_os_threads_and_frees_its_worker(world):
    before, own = set(threading.enumerate()), ("heart", "ear", "herald", "watch", "jobs", "claim")

    def names():
        found = (each.name.removeprefix("gpt-agent-fsm-") for each in threading.enumerate() if each not in before)
        return {name.rpartition("_")[0] or name for name in found} & set(own)

    with world.open_worker() as worker:
        worker.start(ASSISTANT).ask("Hello", timeout=PATIENCE)
        assert names() == set(own)
    wait_until(lambda: names() == set())
    assert query(world.url, "SELECT count(*) FROM gpt_agent_workers") == [(0,)]


@pytest.mark.parametrize("drive", [True, False])
def test_a_handler_may_close_the_runtime(world, drive):
    """The backend and the store are closed after the handler has returned."""
    if not drive:
        world.open_worker()
    runtime = world.open(drive=drive)

    def close(agent, event):
        if isinstance(event, events.AssistantMessageAdded):
            runtime.close()

    agent = runtime.start(ASSISTANT, subscribe=close)
    agent.add_user_message("Hello")
    wait_until(lambda: not agent.alive)
    wait_until(lambda: runtime.store._database._closed)
    assert query(world.url, "SELECT count(*) FROM gpt_agent_workers") == [(int(not drive),)]


FORKED = {
    "connect": connected,
    "start": lambda runtime, agent: runtime.start(ASSISTANT),
    "history": lambda runtime, agent: runtime.history(agent.thread_id),
    "add_user_message": lambda runtime, agent: agent.add_user_message("Hello"),
    "state": lambda runtime, agent: agent.state,
    "load": lambda runtime, agent: runtime.store.load(agent.thread_id),
    "mark": lambda runtime, agent: runtime.store.mark(),
    "find": lambda runtime, agent: runtime.store.find("key"),
    "claim_key": lambda runtime, agent: runtime.store.claim_key("key", agent.thread_id),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_use_after_a_fork_is_refused_and_harms_nobody(worker, agent):
    from tests.unit.test_forks import in_child

    runtime = worker
    for name, call in FORKED.items():
        assert in_child(lambda call=call: call(runtime, agent)).startswith("UsedAfterFork: "), name
    assert in_child(lambda: (runtime.close(), runtime.store.close(), "closed")[-1]) == "closed"
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_process_with_agents_can_open_the_cluster_again(world):
    from tests.unit.test_forks import in_child

    agent = world.open().start(ASSISTANT)

    def ask():
        backend = AssistantsBackend(world.server.base_url, "the-key")
        with Runtime(backend, SETTINGS, Cluster(world.url, drive=True)) as runtime:
            return runtime.follow(agent.thread_id).ask("Hello", timeout=PATIENCE).text

    assert in_child(ask) == "You said: Hello"
    assert world.messages(agent.thread_id) == [("user", "Hello"), ("assistant", "You said: Hello")]


@pytest.mark.parametrize(
    ("password", "options"),
    [("sp ace'\\", ""), ("s3cret", "%20-cstatement_timeout%3D30000"), ("s3cret", "&host=127.0.0.1:1&host={host}")],
)
def test_every_part_of_a_process_reads_the_url_in_the_same_way(world, password, options):
    """The connections for jobs and news are those of libpq, which reads URLs otherwise than SQLAlchemy."""
    parsed, user = sa.make_url(world.url), f"user_{uuid.uuid4().hex[:8]}"
    create = sql.SQL("CREATE USER {} SUPERUSER PASSWORD {}").format(sql.Identifier(user), sql.Literal(password))
    query(world.url, create)
    host = f"{parsed.host}:{parsed.port}"
    url = parsed.set(username=user, password=password).render_as_string(hide_password=False)
    if "host=" in options:
        url = url.replace(f"@{host}/", "@/")
    runtime = world.open_worker(url=url + options.format(host=host))
    agent = runtime.start(ASSISTANT)
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_a_message_that_no_worker_has_taken_is_explained(world):
    agent = world.open().start(ASSISTANT)
    agent.add_user_message("Hello")
    wait_until(lambda: "Hello" in [getattr(each, "content", None) for each in agent._driver.commands()])
    assert "message waits to be posted" in agent.explain()
    assert "No worker has taken this up yet" in agent.explain()
    assert "Cluster(url, drive=True)" in agent.explain()
