"""Connecting, one agent per thread, stopping, closing."""

import contextlib
import logging
import math
import re

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events, signals
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import Answer, Call, Linger, SimulatedServer, VirtualScheduler


def runtime_over(backend, **settings):
    return Runtime(backend, Settings(**settings), scheduler=VirtualScheduler())


class Stubborn(SimulatedServer):
    """A server whose operation `name` fails with `errors_` before it works."""

    def __init__(self, name, *errors_):
        super().__init__()
        self.left = list(errors_)
        self.calls = 0
        work = getattr(super(), name)

        def fail_first(*args, **kwargs):
            self.calls += 1
            if self.left:
                raise self.left.pop(0)
            return work(*args, **kwargs)

        setattr(self, name, fail_first)


def overloaded(**kind):
    return errors.TransientError(503, None, "Too much to do", **kind)


# --- connecting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["thread_id", "assistant_id", "last_message_id"])
def test_all_three_are_required_keywords(world, missing):
    options = {"thread_id": "t", "assistant_id": "a", "last_message_id": None}
    del options[missing]
    with pytest.raises(TypeError, match=missing):
        world.runtime.connect(**options)


def test_a_typo_in_a_keyword_is_a_type_error(world):
    with pytest.raises(TypeError, match="asistant_id"):
        world.runtime.connect(thread_id="t", asistant_id="a", last_message_id=None)


@pytest.mark.parametrize("name", ["thread_id", "assistant_id", "last_message_id"])
@pytest.mark.parametrize("value", ["", " ", 7])
def test_ids_must_be_texts_with_something_in_them(world, name, value):
    options = {"thread_id": "t", "assistant_id": "a", "last_message_id": None, name: value}
    with pytest.raises(ValueError, match=f"{name} must"):
        world.runtime.connect(**options)


def test_an_unknown_thread_is_an_invalid_thread_id(world):
    with pytest.raises(errors.InvalidThreadId, match="thread_0"):
        world.connect("thread_0")
    assert world.runtime.agents == ()


def test_connecting_twice_gives_the_same_agent_with_the_new_assistant_and_cursor(world):
    agent = world.connect(last_message_id="msg_1")
    again = world.connect(agent.thread_id, assistant_id="asst_2", last_message_id="msg_2")
    assert again is agent
    assert (agent.assistant_id, agent.last_message_id) == ("asst_2", "msg_2")
    world.connect(agent.thread_id, assistant_id="asst_2", last_message_id=None)
    assert agent.last_message_id == "msg_2"
    assert world.runtime.agents == (agent,)
    world.scheduler.settle()
    assert (agent.assistant_id, agent.last_message_id) == ("asst_2", "msg_2")


def test_connecting_again_adds_a_subscriber(world):
    one, two = [], []
    agent = world.connect(subscribe=lambda agent, event: one.append(event))
    world.connect(agent.thread_id, subscribe=lambda agent, event: two.append(event))
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert [type(event) for event in one][-1] is events.AssistantMessageAdded
    assert one == two == world.heard


def test_connecting_again_may_change_the_idle_timeout(world):
    agent = world.connect()
    world.connect(agent.thread_id, idle_timeout=5)
    world.scheduler.advance(4)
    assert agent.alive
    world.scheduler.advance(2)
    assert not agent.alive


def test_connecting_again_without_an_idle_timeout_keeps_the_one_there_is(world):
    agent = world.connect(idle_timeout=5)
    assert world.connect(agent.thread_id) is agent
    world.scheduler.advance(4)
    assert agent.alive
    world.scheduler.advance(2)
    assert not agent.alive


def test_a_run_in_progress_is_adopted_before_connect_returns(world):
    thread_id = world.runtime.create_thread()
    run_id = world.server.start_run_elsewhere(thread_id, Answer("From elsewhere"))
    heard = []
    agent = world.connect(thread_id, subscribe=lambda agent, event: heard.append(event))
    assert agent.state == "running"
    assert agent.run_id == run_id
    assert heard == []
    agent.wait(timeout=60)
    assert [type(event).__name__ for event in heard] == [
        "StateChanged",
        "RunCompleted",
        "StateChanged",
        "AssistantMessageAdded",
    ]


def test_a_failed_search_for_a_run_is_repeated_in_the_background():
    backend = Stubborn("list_runs", overloaded())
    with runtime_over(backend) as runtime:
        thread_id = runtime.create_thread()
        backend.start_run_elsewhere(thread_id, Linger(9))
        agent = runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)
        assert agent.state == "idle"
        runtime.scheduler.advance(1)
        assert agent.state == "running"


def test_a_thread_that_the_runtime_has_just_created_is_not_requested_again():
    backend = Stubborn("get_thread")
    with runtime_over(backend) as runtime:
        agent = runtime.start("asst_1")
        assert backend.calls == 0
        agent.shutdown()
        runtime.connect(thread_id=agent.thread_id, assistant_id="asst_1", last_message_id=None)
        assert backend.calls == 1


def test_a_thread_that_start_has_created_is_not_searched_for_a_run():
    backend = Stubborn("list_runs")
    with runtime_over(backend) as runtime:
        agent = runtime.start("asst_1", key="customer-1")
        assert (backend.calls, agent.state) == (0, "idle")
        agent.shutdown()
        runtime.start("asst_1", key="customer-1")
        assert backend.calls == 1


def test_connect_raises_the_servers_error_about_the_key():
    backend = Stubborn("get_thread", errors.AccessDenied(401, None, "No such key"))
    with runtime_over(backend) as runtime:
        thread_id = backend.create_thread(timeout=1)
        with pytest.raises(errors.AccessDenied, match=r"No such key \(HTTP 401\)"):
            runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)


@pytest.mark.parametrize(("failures", "kind", "calls"), [(7, {}, 8), (9, {}, 8), (9, {"hopeless": True}, 3)])
def test_a_caller_who_waits_sees_each_failure_and_the_last_as_an_exception(failures, kind, calls, caplog):
    backend = Stubborn("create_thread", *[overloaded(**kind) for _ in range(failures)])
    heard = []

    def hear(agent, event):
        heard.append((agent, event.operation, event.attempt, event.will_retry))

    with runtime_over(backend) as runtime, signals.request_failed.connected_to(hear):
        if failures < 8:
            assert runtime.create_thread()
        else:
            with pytest.raises(errors.TransientError):
                runtime.create_thread()
    assert backend.calls == calls
    expected = [(None, "create_thread", n, n < calls) for n in range(1, min(failures, calls) + 1)]
    assert heard == expected
    assert "create_thread failed, trying again" in caplog.text


def test_a_caller_who_waits_gives_the_server_the_time_it_asks_for():
    backend = Stubborn("create_thread", overloaded(retry_after=20))
    with runtime_over(backend) as runtime:
        runtime.create_thread()
        assert runtime.scheduler.clock.monotonic() == 20


def test_a_caller_is_not_kept_waiting_for_longer_than_a_request_may_take():
    backend = Stubborn("create_thread", overloaded(retry_after=3600))
    with runtime_over(backend) as runtime, pytest.raises(errors.TransientError) as caught:
        runtime.create_thread()
    assert caught.value.retry_after == 3600


def test_a_runtime_refuses_arguments_that_are_not_a_backend_or_not_settings():
    with pytest.raises(TypeError, match="backend must be a Backend, not str"):
        Runtime("https://example.com/v1")
    with pytest.raises(TypeError, match="settings must be a Settings, not dict"):
        Runtime(SimulatedServer(), {"workers": 2})


# --- idle, shut down, closed -----------------------------------------------------------------------------------


def test_without_activity_an_agent_stops_and_leaves_the_runtime(world):
    agent = world.connect()
    world.scheduler.advance(119)
    assert agent.alive
    world.scheduler.advance(2)
    assert not agent.alive
    assert world.runtime.agents == ()
    assert world.heard[-1] == events.AgentStopped(thread_id=agent.thread_id, reason="idle_timeout")


def test_activity_restarts_the_idle_time(world):
    agent = world.connect()
    world.scheduler.advance(100)
    agent.set_assistant_id("asst_2")
    world.scheduler.advance(100)
    assert agent.alive


def test_an_agent_that_waits_for_tools_polls_its_run_instead_of_stopping(world):
    world.plans.append([Call((("f", "{}"),)), Answer()])
    agent = world.connect(idle_timeout=10)
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    looks = []
    world.server.get_run, work = (lambda *a, **k: looks.append(1) or work(*a, **k)), world.server.get_run
    world.scheduler.advance(25)
    assert agent.state == "awaiting_tools"
    assert len(looks) == 2


YEAR = 365 * 24 * 3600


def test_an_agent_without_an_idle_timeout_does_not_stop(world):
    agent = world.connect(idle_timeout=math.inf)
    world.scheduler.advance(YEAR)
    assert agent.alive
    agent.add_user_message("Still here")
    assert agent.wait(timeout=60) == "idle"
    world.scheduler.advance(YEAR)
    assert agent.alive
    world.connect(agent.thread_id, idle_timeout=5)
    world.scheduler.advance(6)
    assert not agent.alive


def test_connecting_again_may_take_the_idle_timeout_away(world):
    agent = world.connect(idle_timeout=5)
    world.connect(agent.thread_id, idle_timeout=math.inf)
    world.scheduler.advance(YEAR)
    assert agent.alive


def test_a_runtime_without_an_idle_timeout_stops_no_agent():
    scheduler = VirtualScheduler()
    with Runtime(SimulatedServer(), Settings(idle_timeout=None), scheduler=scheduler) as runtime:
        agent = runtime.start("asst_1")
        scheduler.advance(YEAR)
        assert agent.alive


@pytest.mark.parametrize("idle_timeout", [math.nan, -math.inf, 0, "5"])
def test_an_idle_timeout_that_makes_no_sense_is_refused_by_name(world, idle_timeout):
    with pytest.raises(ValueError, match="idle_timeout must be"):
        world.connect(idle_timeout=idle_timeout)


def test_without_an_idle_timeout_a_run_that_waits_for_tools_is_polled_every_two_minutes(world):
    world.plans.append([Call((("f", "{}"),)), Answer()])
    agent = world.connect(idle_timeout=math.inf)
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    polls = []
    world.server.get_run, work = (lambda *a, **k: polls.append(1) or work(*a, **k)), world.server.get_run
    world.scheduler.advance(250)
    assert agent.state == "awaiting_tools"
    assert len(polls) == 2


def test_the_representation_of_a_runtime_names_its_backend_its_store_and_its_agents(world):
    backend = AssistantsBackend("http://api.test/v1", "sk-a-secret-key")
    with Runtime(backend) as runtime:
        shown = "on AssistantsBackend(base_url='http://api.test/v1') and a MemoryStore>"
        assert repr(runtime) == f"<Runtime 0 agents {shown}"
    assert repr(runtime) == f"<Runtime 0 agents {shown}"
    world.connect()
    assert repr(world.runtime).startswith("<Runtime 1 agent on ")


def test_a_command_at_the_last_moment_keeps_the_agent(world):
    agent = world.connect(idle_timeout=10)
    world.scheduler.settle()
    world.scheduler._clock.now = 11
    agent.add_user_message("Still here")
    world.scheduler.advance(5)
    assert agent.alive
    assert "UserMessageAdded" in world.names()


def test_shutting_down_is_effective_before_it_returns_and_announced(world):
    agent = world.connect()
    agent.shutdown()
    assert world.runtime.get(agent.thread_id) is None
    world.scheduler.settle()
    assert world.heard[-1] == events.AgentStopped(thread_id=agent.thread_id, reason="shutdown")
    assert world.names().count("AgentStopped") == 1


def test_an_agent_connected_again_continues_the_unfinished_work(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.shutdown()
    again = world.connect(agent.thread_id)
    assert again is not agent
    again.wait(timeout=60)
    assert [message.content for message in world.server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


def test_the_cursor_of_an_earlier_agent_is_kept(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    cursor = agent.last_message_id
    assert cursor is not None
    agent.shutdown()
    again = world.connect(agent.thread_id)
    assert again is not agent
    assert again.last_message_id == cursor


def test_shutting_down_inside_a_handler_ends_the_announcements(world):
    def stop(agent, event):
        if isinstance(event, events.RunCompleted):
            agent.shutdown()

    agent = world.connect(subscribe=stop)
    agent.add_user_message("Hello")
    world.scheduler.advance(10)
    assert world.names() == ["UserMessageAdded", "RunStarted", "RunCompleted", "AgentStopped"]
    again = world.connect(agent.thread_id)
    again.wait(timeout=60)
    assert world.names()[-1] == "AssistantMessageAdded"


def test_an_agent_connected_inside_a_handler_of_the_one_it_replaces_begins_afterwards(world):
    made = []

    def replace(agent, event):
        if isinstance(event, events.RunCompleted) and not made:
            agent.shutdown()
            made.append(world.connect(agent.thread_id))
            assert made[0] is not agent
            assert made[0].alive
            made[0].add_user_message("Again")

    agent = world.connect(subscribe=replace)
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert made[0].wait(timeout=60) == "idle"
    said = [message.content for message in world.server.messages(agent.thread_id)]
    assert said == ["Hello", "You said: Hello", "Again", "You said: Again"]
    assert made[0].state == "idle"


def test_a_successor_that_is_shut_down_before_it_began_leaves_its_messages_for_the_next(world):
    made = []

    def replace(agent, event):
        if isinstance(event, events.RunCompleted) and not made:
            agent.shutdown()
            made.append(world.connect(agent.thread_id))
            made[0].add_user_message("Again")
            made[0].shutdown()

    agent = world.connect(subscribe=replace)
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert not made[0].alive
    world.connect(agent.thread_id).wait(timeout=60)
    assert "Again" in [message.content for message in world.server.messages(agent.thread_id)]


def test_a_request_that_was_decided_but_not_sent_is_not_in_doubt_after_a_shutdown(world):
    world.plans.append([Linger(9)])
    agent = world.connect()

    def stop(agent, event):
        if isinstance(event, events.UserMessageAdded):
            agent.shutdown()

    world.connect(agent.thread_id, subscribe=stop)
    agent.add_user_message("Hello")
    world.scheduler.advance(1)
    assert not agent.alive
    again = world.connect(agent.thread_id)
    world.scheduler.advance(1)
    assert again.state == "running"


def test_closing_stops_every_agent_and_says_so(world):
    agents = [world.connect(), world.connect()]
    world.runtime.close()
    assert not any(agent.alive for agent in agents)
    assert [event.reason for event in world.heard if isinstance(event, events.AgentStopped)] == ["runtime_closed"] * 2
    with pytest.raises(errors.RuntimeClosed, match="closed"):
        world.runtime.create_thread()
    with pytest.raises(errors.RuntimeClosed):
        world.connect("thread_1")
    world.runtime.close()


# --- history -------------------------------------------------------------------------------------------------


def test_the_history_of_a_thread_is_numbered_from_one_without_gaps(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    records = world.runtime.history(agent.thread_id)
    assert isinstance(records[-1].event, events.AssistantMessageAdded)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.event for record in records] == world.heard
    assert world.runtime.history(agent.thread_id, after=2) == records[2:]
    assert world.runtime.history("thread_0") == []


@pytest.mark.parametrize("wrong", ["1", -1, 1.5, True, float("nan"), [1], ""])
def test_a_number_of_a_record_that_makes_no_sense_is_refused(world, wrong):
    with pytest.raises(ValueError, match="replay_after must be the number of a record, or 0"):
        world.connect(subscribe=lambda agent, event: None, replay_after=wrong)
    with pytest.raises(ValueError, match="history: after must be the number of a record, or 0"):
        world.runtime.history("thread_1", after=wrong)


def test_a_thread_that_was_deleted_after_it_was_created_is_named(world):
    with runtime_over(backend := SimulatedServer()) as runtime:
        thread_id = runtime.create_thread()
        backend.get_thread = refused(errors.InvalidThreadId(404, None, f"No thread {thread_id}"))
        backend.list_runs = refused(errors.RequestRefused(404, None, "Not found"))
        for _ in range(2):
            with pytest.raises(errors.InvalidThreadId, match=thread_id):
                runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)


def refused(error):
    def refuse(*args, **kwargs):
        raise error

    return refuse


def test_a_late_subscriber_is_given_the_history_first_and_misses_nothing(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    late = []
    world.connect(agent.thread_id, subscribe=lambda agent, event: late.append(event), replay_after=0)
    agent.add_user_message("Again")
    agent.wait(timeout=60)
    assert world.names().count("AssistantMessageAdded") == 2
    assert late == world.heard
    later = []
    world.connect(agent.thread_id, subscribe=lambda agent, event: later.append(event), replay_after=3)
    agent.wait(timeout=60)
    assert later == world.heard[3:]


def test_a_subscriber_that_joins_inside_a_handler_gets_each_event_once(world):
    late, joined = [], []

    def join(agent, event):
        if isinstance(event, events.RunCompleted) and not joined:
            joined.append(True)
            world.connect(agent.thread_id, subscribe=lambda agent, event: late.append(event), replay_after=0)

    agent = world.connect(subscribe=join)
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert joined
    assert late == world.heard


# --- refused arguments, and the log --------------------------------------------------------------------------------


def test_no_message_text_is_logged(world, caplog):
    caplog.set_level(logging.DEBUG, logger="gpt_agent_fsm")
    agent = world.connect()
    agent.add_user_message("a secret of mine")
    agent.submit_tool_output("call_1", "another secret")
    agent.wait(timeout=60)
    assert "idle -> running" in caplog.text
    assert "secret" not in caplog.text


def test_a_subscriber_must_be_callable(world):
    with pytest.raises(TypeError, match=r"subscribe must be callable as subscribe\(agent, event\), not 3"):
        world.connect(subscribe=3)


def test_a_backend_class_is_not_a_backend():
    with pytest.raises(TypeError, match="not the class SimulatedServer"):
        Runtime(SimulatedServer)


def test_unfinished_work_at_the_end_is_logged(world, caplog):
    agent = world.connect()
    agent.add_user_message("Hello")
    world.runtime.close()
    assert "stopped (runtime_closed) with work left" in caplog.text
    with pytest.raises(errors.AgentNotAlive, match="make a new runtime and connect"):
        agent.add_user_message("x")


def test_a_run_in_progress_at_the_end_is_logged_and_an_agent_at_rest_is_not(world, caplog):
    resting, busy = world.connect(), world.connect()
    world.plans.append([Linger(99)])
    busy.add_user_message("Hello")
    world.scheduler.advance(5)
    world.runtime.close()
    assert f"{busy.thread_id}: stopped (runtime_closed) with work left" in caplog.text
    assert resting.thread_id not in caplog.text


class TakenStore(MemoryStore):
    """A store that another process may take."""

    is_taken = False

    def commit(self, *args, **kwargs):
        if self.is_taken:
            raise errors.StoreTaken("Another process has it.")
        return super().commit(*args, **kwargs)


@pytest.mark.parametrize("reason", ["runtime_closed", "store_taken"])
def test_thousands_of_unfinished_threads_share_a_line_in_the_log(caplog, reason):
    store, scheduler = TakenStore(), VirtualScheduler()
    runtime = Runtime(SimulatedServer(lambda _: [Linger(10**6)]), Settings(), store, scheduler=scheduler)
    agents = [runtime.start("asst_1") for _ in range(25)]
    for agent in agents:
        agent.add_user_message("Hello")
    scheduler.advance(5)
    if reason == "store_taken":
        store.is_taken = True
        agents[0].cancel_run()
        scheduler.advance(5)
    runtime.close()
    (line,) = [record.getMessage() for record in caplog.records if "with work left" in record.getMessage()]
    assert sum(agent.thread_id in line for agent in agents) == 10
    assert f" and 15 more: stopped ({reason}) with work left; " in line


class SaysNothing(MemoryStore):
    """Another kind of store, which does not say how long it keeps its data."""

    ends_with_process = None


@pytest.mark.parametrize(
    ("store", "outlook"),
    [
        (MemoryStore, "its data ends with the process, because it is in memory only: call agent.wait() before you"),
        (lambda: SQLStore("sqlite://"), "its data ends with the process"),
        (lambda: SQLStore("sqlite:///threads.db"), "the next runtime on this store resumes it, or this one when"),
        (SaysNothing, "the next runtime on this store resumes it"),
    ],
)
def test_the_warning_about_work_left_says_what_becomes_of_it_in_the_store_in_use(
    store, outlook, caplog, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with Runtime(SimulatedServer(), Settings(), store(), scheduler=VirtualScheduler()) as runtime:
        runtime.start("asst_1").add_user_message("Hello")
    assert f"stopped (runtime_closed) with work left; {outlook}" in caplog.text


def test_at_debug_level_the_machine_is_silent_and_the_library_says_little(world, caplog):
    caplog.set_level(logging.DEBUG)
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert world.names()[-1] == "AssistantMessageAdded"
    assert {record.name.split(".")[0] for record in caplog.records} == {"gpt_agent_fsm"}
    assert len(caplog.records) < 20


def test_a_store_that_is_none_is_refused():
    with pytest.raises(TypeError, match="store must be a Store, not str"):
        Runtime(SimulatedServer(), store="sqlite:///agents.db")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"store": "sqlite:///agents.db"}, r"not str; write SQLStore\(\.\.\.\) with the URL of a database"),
        ({"backend": "https://example.com/v1"}, r"not str; write AssistantsBackend\(\.\.\.\) or ResponsesBackend"),
        ({"settings": {"workers": 1}}, "must be a Settings, not dict$"),
    ],
)
def test_a_text_in_place_of_a_part_is_refused_with_what_to_write(arguments, advice):
    with pytest.raises(TypeError, match=advice):
        Runtime(**{"backend": SimulatedServer(), **arguments})


def test_a_store_says_which_database_it_has(tmp_path):
    with contextlib.closing(SQLStore(f"sqlite:///{tmp_path}/agents.db")) as store:
        assert re.fullmatch(r"<SQLStore of .*agents\.db>", repr(store))
