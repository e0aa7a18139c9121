"""Functions that answer tool calls: what a crash leaves behind, and a run that is not always seen as it is."""

import attrs
import pytest

from gpt_agent_fsm import ToolContext, errors, events, signals, tool
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.testing import Answer
from tests.unit.tool_worlds import (
    PATIENCE,
    WEATHER,
    SlowWorld,
    World,
    count_ticks,
    deny_polls,
    get_weather,
    make_tool,
    other,
)

# --- a crash ------------------------------------------------------------------------------------------


def died_during(retry, world_tools):
    """A world whose process died after the start of a function was saved, and before its output was."""
    world = World(WEATHER, Answer("Done"), tools=world_tools)
    world.connect().add_user_message("Hello")
    commit, world.store.commit = world.store.commit, None

    def last_commit(snapshot, **rest):
        records = commit(snapshot, **rest)
        if any(isinstance(record.event, events.ToolStarted) for record in records):
            raise KeyboardInterrupt
        return records

    world.store.commit = last_commit
    with pytest.raises(KeyboardInterrupt):
        world.scheduler.advance(30)
    world.store.commit = commit
    assert world.names()[-1] == "ToolStarted"
    return world


def test_a_function_that_may_have_run_is_not_run_again_and_the_model_is_told():
    ran = []

    def get_weather(city: str) -> int:
        ran.append(city)
        return 1

    world = died_during("never", [get_weather])
    world.start([get_weather])
    (agent,) = world.runtime.agents
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert ran == []
    assert world.names()[-2:] == ["ToolOutcomeUnknown", "ToolCallOutputRecorded"]
    assert "unknown" in world.outputs()[0]


def test_a_safe_function_is_run_again_with_the_next_attempt():
    attempts = []

    @tool(retry="safe")
    def get_weather(city: str, context: ToolContext) -> int:
        attempts.append((context.call_id, context.attempt))
        return 1

    world = died_during("safe", [get_weather])
    world.start([get_weather])
    (agent,) = world.runtime.agents
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert attempts == [(world.happened()[0].id, 2)]
    assert [event.attempt for event in world.happened() if isinstance(event, events.ToolStarted)] == [1, 2]
    assert world.outputs() == ["1"]


def test_a_safe_function_that_the_next_process_does_not_have_is_unknown():
    @tool(retry="safe")
    def get_weather(city: str) -> int:
        return 1

    world = died_during("safe", [get_weather])
    world.start([])
    assert world.runtime.agents[0].wait(timeout=PATIENCE) == "idle"
    assert "ToolOutcomeUnknown" in world.names()


def test_a_call_without_a_function_waits_in_the_next_process_until_somebody_connects():
    world = World(WEATHER, Answer("Done"), tools=[other])
    world.connect(subscribe=lambda agent, event: None).add_user_message("Hello")
    world.scheduler.advance(30)
    world.start([other])
    world.scheduler.advance(30)
    heard = []
    agent = world.connect(world.thread_id, subscribe=lambda agent, event: heard.append(event))
    world.scheduler.advance(30)
    assert [call.again for call in heard if isinstance(call, events.ToolCallRequested)] == [True]
    agent.submit_tool_output(agent.open_tool_calls[0].id, 7)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert world.outputs() == ["7"]


def test_a_call_without_a_function_is_unknown_if_whoever_connects_hears_no_calls():
    world = World(WEATHER, Answer("Done"), tools=[other])
    world.connect(subscribe=lambda agent, event: None).add_user_message("Hello")
    world.scheduler.advance(30)
    world.start([other])
    world.scheduler.advance(30)
    world.connect(world.thread_id)
    world.scheduler.advance(5)
    assert world.outputs() == ['{"error":"There is no tool called get_weather."}']


def test_a_call_that_a_function_answers_is_not_announced_again_after_a_takeover():
    def get_weather(city: str) -> int:
        return 1

    world = World(WEATHER, Answer("Done"))
    world.connect().add_user_message("Hello")
    world.scheduler.advance(10)
    heard = []

    def hear(agent, event):
        heard.append(event)

    world.start([get_weather])
    with signals.tool_call_requested.connected_to(hear):
        assert world.runtime.agents[0].wait(timeout=PATIENCE) == "idle"
    assert heard == []
    assert world.outputs() == ["1"]


# --- the run is not always seen as it is ------------------------------------------------------------------


ANSWERED_BY_A_FUNCTION = ["ToolCallRequested", "ToolStarted", "ToolCallOutputRecorded"]


def test_an_outdated_poll_does_not_lose_a_function_that_runs(monkeypatch):
    world = SlowWorld(20, WEATHER, Answer("Done"), tools=[get_weather], idle_timeout=5)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(3)
    now, outdated = world.server.get_run, []

    def get_run(*args, **options):
        run = now(*args, **options)
        outdated.append(run)
        return attrs.evolve(run, status=RunStatus.ACTIVE, tool_calls=()) if len(outdated) == 1 else run

    monkeypatch.setattr(world.server, "get_run", get_run)
    agent.wait(timeout=PATIENCE)
    assert outdated
    assert world.names() == ANSWERED_BY_A_FUNCTION


def test_a_function_that_runs_while_its_run_is_parked_answers_after_the_next_connect(monkeypatch):
    world = SlowWorld(90, WEATHER, Answer("Done"), tools=[get_weather], idle_timeout=50, request_max_attempts=2)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(3)
    with monkeypatch.context() as patch:
        patch.setattr(world.server, "get_run", deny_polls)
        world.scheduler.advance(70)
        assert agent.failure.parked
    world.connect(world.thread_id)
    agent.wait(timeout=PATIENCE)
    assert world.names() == ANSWERED_BY_A_FUNCTION


def test_the_time_of_a_function_passes_while_the_run_is_shown_outdated(monkeypatch):
    limited = tool(timeout=10)(get_weather)
    world = SlowWorld(0, WEATHER, Answer("Done"), tools=[limited], idle_timeout=5)
    began = []

    def begin(function):
        began.append(function)
        job = next(iter(world.runtime._roster.jobs.of_thread(world.thread_id).values()))
        job.deadline = world.scheduler.clock.monotonic() + job.timeout

    world.runtime._roster.jobs._run_soon = begin
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(3)
    run_is = world.server.get_run
    until = world.scheduler.clock.monotonic() + 20

    def get_run(*args, **options):
        run = run_is(*args, **options)
        shown = world.scheduler.clock.monotonic() < until
        return attrs.evolve(run, status=RunStatus.ACTIVE, tool_calls=()) if shown else run

    monkeypatch.setattr(world.server, "get_run", get_run)
    count_ticks(world.scheduler, monkeypatch)
    agent.wait(timeout=PATIENCE)
    assert began
    assert "ToolOutcomeUnknown" in world.names()


@pytest.mark.parametrize("approve", [False, True])
def test_after_a_cancel_no_function_is_started_and_nobody_is_asked(approve, monkeypatch):
    def refuse_twice(*args, **options):
        refused.append(1)
        if len(refused) < 3:
            raise errors.TransientError(503, None, "Later")
        return cancel_run(*args, **options)

    refused, ran = [], []
    world = World(WEATHER, Answer("Done"), tools=[make_tool(approve, ran)])
    cancel_run = world.server.cancel_run
    monkeypatch.setattr(world.server, "cancel_run", refuse_twice)
    agent = world.connect()
    with (
        signals.tool_call_requested.connected_to(lambda agent, event: agent.cancel_run(), sender=agent),
        pytest.raises(errors.RunError, match="cancelled"),
    ):
        agent.ask("Hello", timeout=PATIENCE)
    assert ran == []
    assert world.names() == ["ToolCallRequested"]


def test_a_function_is_not_started_by_a_process_that_lost_the_thread():
    ran = []

    def get_weather(city: str) -> int:
        ran.append(city)
        return 1

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    agent = world.connect()
    lease = agent._driver.lease
    commit = world.store.commit

    class Lost:
        def holds(self):
            return False

    def commit_and_lose(snapshot, **rest):
        records = commit(snapshot, **rest)
        if any(isinstance(record.event, events.ToolStarted) for record in records):
            agent._driver.lease = Lost()
        return records

    world.store.commit = commit_and_lose
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert lease is not None
    assert ran == []
    assert not agent.alive
