"""A new runtime takes a thread over: open tool calls are announced again, and a long wait is not forgotten."""

import pytest

from gpt_agent_fsm import errors, events, signals
from gpt_agent_fsm.testing import Answer, Call, Linger
from tests.unit.test_resume import World

ASK = Call((("locate", "{}"), ("measure", '{"unit":"m"}')))


def connect_again(world, **options):
    return world.runtime.connect(thread_id=world.thread_id, assistant_id="a", last_message_id=None, **options)


def ask_for_tools(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert agent.state == "awaiting_tools"
    return agent


@pytest.fixture
def world():
    return World(ASK, Answer("Done"))


@pytest.fixture
def heard():
    """The open calls that the signals have announced again."""
    calls = []

    def hear(agent, event):
        if event.again:
            calls.append(event)

    with signals.tool_call_requested.connected_to(hear):
        yield calls


# --- open calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "close"])
def test_open_calls_are_announced_again_by_the_next_runtime_however_the_last_one_ended(world, heard, end):
    agent = ask_for_tools(world)
    before = agent.open_tool_calls
    assert not heard
    if end == "close":
        world.runtime.close()
    world.start()
    world.scheduler.advance(1)
    assert [(call.id, call.name, call.arguments, call.again) for call in heard] == [
        (call.id, call.name, call.arguments, True) for call in before
    ]
    world.scheduler.advance(300)
    assert len(heard) == 2


def test_a_handler_that_stops_the_agent_hears_of_no_further_open_call(world, heard):
    ask_for_tools(world)
    world.start()
    with signals.tool_call_requested.connected_to(lambda agent, event: agent.shutdown()):
        world.scheduler.advance(1)
    assert len(heard) == 1


def test_open_calls_are_announced_again_to_the_first_subscriber_after_its_history(world):
    ask_for_tools(world)
    world.start()
    first, second = [], []
    connect_again(world, subscribe=lambda agent, event: first.append(event), replay_after=0)
    connect_again(world, subscribe=lambda agent, event: second.append(event), replay_after=0)
    world.scheduler.advance(1)
    requested = [event for event in first if isinstance(event, events.ToolCallRequested)]
    assert [event.again for event in requested] == [False, False, True, True]
    assert first[-2:] == requested[-2:]
    assert [event.again for event in second if isinstance(event, events.ToolCallRequested)] == [False, False]


def test_a_subscriber_who_comes_after_the_first_connect_hears_of_the_open_calls_only_in_the_history(world):
    ask_for_tools(world)
    world.start()
    late, later = [], []
    connect_again(world)
    connect_again(world, subscribe=lambda agent, event: late.append(event))
    connect_again(world, subscribe=lambda agent, event: later.append(event), replay_after=0)
    world.scheduler.advance(1)
    assert late == []
    requested = [event for event in later if isinstance(event, events.ToolCallRequested)]
    assert [event.again for event in requested] == [False, False]
    assert world.runtime.get(world.thread_id).open_tool_calls


def test_a_first_subscriber_without_history_hears_of_the_open_calls(world):
    ask_for_tools(world)
    world.start()
    world.scheduler.advance(10)
    calls = []
    connect_again(world, subscribe=lambda agent, event: calls.append(event))
    world.scheduler.advance(1)
    assert [type(event).__name__ for event in calls] == ["ToolCallRequested"] * 2


def test_an_announcement_that_is_repeated_is_not_part_of_the_history(world):
    ask_for_tools(world)
    world.start()
    world.scheduler.advance(1)
    records = world.runtime.history(world.thread_id)
    requested = [each.event for each in records if isinstance(each.event, events.ToolCallRequested)]
    assert [event.again for event in requested] == [False, False]


def test_a_call_that_was_answered_is_not_announced_again(world, heard):
    agent = ask_for_tools(world)
    answered, still_open = agent.open_tool_calls
    agent.submit_tool_output(answered.id, 1)
    world.scheduler.advance(1)
    world.start()
    world.scheduler.advance(1)
    assert [call.id for call in heard] == [still_open.id]


def test_a_call_whose_first_announcement_is_still_to_come_is_announced_once(heard):
    world = World(ASK, Answer("Done"))
    # The process dies before the store notes what was announced.
    world.store.announced, note = lambda thread_id, seq: None, world.store.announced
    ask_for_tools(world)
    world.store.announced = note
    unannounced = [record.event for record in world.store.load(world.thread_id).unannounced]
    world.start()
    all_calls = []

    def hear(agent, event):
        all_calls.append(event.again)

    with signals.tool_call_requested.connected_to(hear):
        world.scheduler.advance(1)
    waiting = sum(isinstance(event, events.ToolCallRequested) for event in unannounced)
    assert waiting == 2
    assert all_calls == [False, False]
    assert not heard


def test_calls_are_not_announced_again_after_shutdown_and_connect_in_one_runtime(world, heard):
    agent = ask_for_tools(world)
    agent.shutdown()
    world.scheduler.advance(1)
    again = connect_again(world)
    world.scheduler.advance(1)
    assert again.state == "awaiting_tools"
    assert len(again.open_tool_calls) == 2
    assert not heard


def test_a_run_that_ended_while_nobody_was_there_has_no_calls_to_announce(heard):
    world = World(ASK, Answer("Done"), run_timeout=1)
    agent = ask_for_tools(World(ASK, Answer("Done")))
    assert agent.open_tool_calls
    world.connect().add_user_message("Hello")
    world.scheduler.advance(30)
    world.start()
    world.scheduler.advance(1)
    assert not heard


def test_an_answer_to_a_call_that_was_announced_again_completes_the_run(world, heard):
    ask_for_tools(world)
    world.start()
    world.scheduler.advance(1)
    (agent,) = world.runtime.agents
    for call in heard:
        agent.submit_tool_output(call.id, 1)
    assert agent.wait(timeout=60) == "idle"
    assert world.said()[-1] == "Done"


# --- long waits ---------------------------------------------------------------------------------------


def stalls(world):
    records = world.runtime.history(world.thread_id)
    return [record for record in records if isinstance(record.event, events.ThreadStalled)]


def test_a_run_that_never_ends_is_told_and_told_again_when_the_wait_has_doubled():
    world = World(Linger(10**6), stall_after=300.0)
    world.connect().add_user_message("Hello")
    began = world.scheduler.clock.time()
    world.scheduler.advance(299)
    assert stalls(world) == []
    world.scheduler.advance(1_000)
    assert [record.at - began for record in stalls(world)] == pytest.approx([300, 600, 1_200], abs=5)
    event = stalls(world)[0].event
    assert event.since == pytest.approx(began, abs=5)
    assert event.next_look == pytest.approx(stalls(world)[0].at, abs=2)
    assert "is in progress on the server" in event.reason


def test_nothing_is_told_without_the_setting():
    world = World(Linger(10**6), stall_after=None)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(3_000)
    assert stalls(world) == []


def test_a_wait_continues_over_a_restart():
    world = World(Linger(10**6), stall_after=300.0)
    world.connect().add_user_message("Hello")
    began = world.scheduler.clock.time()
    world.scheduler.advance(200)
    world.start(pause=50)
    world.scheduler.advance(60)
    (stalled,) = stalls(world)
    assert stalled.event.since == pytest.approx(began, abs=5)


def test_a_long_time_without_a_process_is_told_once():
    world = World(Linger(10**6), stall_after=300.0)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(10)
    world.start(pause=100_000)
    world.scheduler.advance(10)
    assert len(stalls(world)) == 1


def test_progress_ends_the_wait():
    world = World(Linger(290), Answer("Done"), stall_after=300.0)
    agent = world.connect()
    agent.add_user_message("Hello")
    assert agent.wait(timeout=600) == "idle"
    world.scheduler.advance(600)
    assert stalls(world) == []


# --- what the agent says ------------------------------------------------------------------------------


def test_the_agent_says_what_it_waits_for(world):
    agent = ask_for_tools(world)
    text = agent.explain()
    assert "waits for the output of locate" in text
    assert "Next: polling the run in " in text
    assert "submit_tool_output()" in text
    agent.shutdown()
    with pytest.raises(errors.AgentNotAlive):
        agent.explain()
