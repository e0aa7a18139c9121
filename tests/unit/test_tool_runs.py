"""Functions answer tool calls: when they are started, and what becomes of their outputs."""

import pytest

from gpt_agent_fsm import Assistant, Runtime, ToolContext, errors, signals, tool
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from tests.unit.tool_worlds import (
    PATIENCE,
    WEATHER,
    MoodyServer,
    World,
    other,
)

# --- a function answers -------------------------------------------------------------------------------


def test_a_call_is_answered_by_the_function_of_its_name():
    def get_weather(city: str) -> dict:
        return {"city": city, "celsius": 21}

    world = World(WEATHER, Answer("21 degrees"), tools=[get_weather])
    answer = world.connect().ask("How warm is it?", timeout=PATIENCE)
    assert answer.text == "21 degrees"
    assert world.names() == ["ToolCallRequested", "ToolStarted", "ToolCallOutputRecorded"]
    assert world.outputs() == ['{"city":"Oslo","celsius":21}']


def test_a_call_that_a_function_answers_is_not_open():
    seen = []

    def get_weather(city: str) -> int:
        return 1

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    agent = world.connect(subscribe=lambda agent, event: seen.append(agent.open_tool_calls))
    agent.ask("Hello", timeout=PATIENCE)
    assert set(seen) == {()}


def test_the_context_says_which_call_it_is():
    contexts = []

    def get_weather(city: str, context: ToolContext) -> int:
        contexts.append(context)
        return 1

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    agent = world.connect()
    agent.ask("Hello", timeout=PATIENCE)
    (context,) = contexts
    (requested, *_) = world.happened()
    assert (context.agent, context.thread_id, context.run_id) == (agent, agent.thread_id, requested.run_id)
    assert (context.call_id, context.attempt, context.cancelled()) == (requested.id, 1, False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [("{}", "city"), ('{"city":7}', "city"), ('{"city":"Oslo","x":1}', "x")],
)
def test_wrong_arguments_are_told_to_the_model(arguments, text):
    def get_weather(city: str) -> int:
        raise AssertionError("never called")

    world = World(Call((("get_weather", arguments),)), Answer("Done"), tools=[get_weather])
    world.connect().ask("Hello", timeout=PATIENCE)
    (output,) = world.outputs()
    assert '"error"' in output
    assert text in output
    assert "never called" not in output


def test_an_error_of_a_function_is_told_to_the_model_and_its_traceback_is_logged(caplog):
    def get_weather(city: str) -> int:
        raise LookupError("no such city")

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert world.outputs() == ['{"error":"LookupError: no such city"}']
    assert "Traceback" in caplog.text


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("never read")


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (Mute(), '{"error":"Mute"}'),
        (SystemExit(3), '{"error":"SystemExit: 3"}'),
        (KeyError(), '{"error":"KeyError"}'),
    ],
)
def test_every_error_of_a_function_is_an_output(error, output):
    def get_weather(city: str) -> int:
        raise error

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert world.outputs() == [output]


def test_a_function_runs_once_if_there_is_no_os_thread_for_the_other_one(monkeypatch):
    def one() -> int:
        ran.append("one")
        return 1

    def two() -> int:
        ran.append("two")
        return 2

    def start(function):
        starts.append(function)
        if len(starts) == 2:
            raise RuntimeError("can't start new thread")
        world.scheduler.call_later(5.0, function)

    ran, starts = [], []
    world = World(Call((("one", "{}"), ("two", "{}"))), Answer("Done"), tools=[one, two])
    monkeypatch.setattr(world.runtime._roster.jobs, "_run_soon", start)
    world.connect().ask("Hello", timeout=PATIENCE)
    assert ran == ["one"]
    assert sorted(world.outputs()) == ["1", '{"error":"two could not be called."}']


def test_a_result_without_a_form_in_json_is_told_to_the_model():
    def get_weather(city: str) -> object:
        return object()

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert "JSON" in world.outputs()[0]


def test_an_unknown_tool_is_told_to_the_model_if_nobody_else_can_answer():
    def other() -> int:
        return 1

    world = World(WEATHER, Answer("Done"), tools=[other])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert world.outputs() == ['{"error":"There is no tool called get_weather."}']


def test_a_handler_answers_the_calls_for_which_there_is_no_function():
    def other() -> int:
        return 1

    def answer(agent, event):
        agent.submit_tool_output(event.id, 7)

    world = World(Call((("get_weather", "{}"), ("other", "{}"))), Answer("Done"), tools=[other])
    with signals.tool_call_requested.connected_to(answer, sender=world.connect()):
        world.runtime.get(world.thread_id).ask("Hello", timeout=PATIENCE)
    assert sorted(world.outputs()) == ["1", "7"] or world.outputs() == ["7", "7"]


def note(agent, event):
    """A handler that answers nothing."""


@pytest.mark.parametrize("signal", [signals.event, signals.tool_call_requested])
def test_a_call_without_a_function_waits_for_an_answer_if_a_receiver_hears_it(signal):
    world = World(WEATHER, Answer("Done"), tools=[other])
    agent = world.connect()
    with signal.connected_to(note, sender=agent):
        agent.add_user_message("Hello")
        world.scheduler.advance(30)
        agent.submit_tool_output(agent.open_tool_calls[0].id, 7)
        assert agent.wait(timeout=PATIENCE) == "idle"
    assert world.outputs() == ["7"]


def connect_to_another_agent(world):
    other_agent = world.runtime.connect(thread_id=world.runtime.create_thread(), assistant_id="a", last_message_id=None)
    return signals.event.connected_to(note, sender=other_agent)


@pytest.mark.parametrize(
    "hears_no_call",
    [
        lambda world: signals.tool_approval_requested.connected_to(note),
        lambda world: signals.run_started.connected_to(note),
        connect_to_another_agent,
    ],
)
def test_a_receiver_that_does_not_hear_the_call_keeps_no_unknown_call_waiting(hears_no_call):
    world = World(WEATHER, Answer("Done"), tools=[other])
    with hears_no_call(world):
        world.connect().ask("Hello", timeout=PATIENCE)
    assert world.outputs() == ['{"error":"There is no tool called get_weather."}']


def test_an_output_by_hand_that_comes_first_wins_and_the_function_is_not_started():
    def get_weather(city: str) -> int:
        raise AssertionError("never called")

    def answer(agent, event):
        agent.submit_tool_output(event.id, 7)

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    agent = world.connect()
    with signals.tool_call_requested.connected_to(answer, sender=agent):
        agent.ask("Hello", timeout=PATIENCE)
    assert world.outputs() == ["7"]
    assert "ToolStarted" not in world.names()


def test_without_any_tool_calls_wait_for_an_answer_by_hand():
    world = World(WEATHER, Answer("Done"))
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert [call.name for call in agent.open_tool_calls] == ["get_weather"]


def test_two_functions_of_one_name_are_refused():
    def get_weather(city: str) -> int:
        return 1

    first = get_weather

    def get_weather(city: str) -> int:
        return 2

    with pytest.raises(ValueError, match="get_weather"):
        Runtime(SimulatedServer(), tools=[first, get_weather], scheduler=VirtualScheduler())


def test_a_function_that_is_published_later_under_a_taken_name_is_refused_when_somebody_connects():
    def published(city: str) -> int:
        return 2

    with LocalServer() as server:
        backend = AssistantsBackend(server.base_url, "k")
        with Runtime(backend, tools=[tool(name="get_weather")(lambda: 1)]) as runtime:
            assistant_id = backend.publish(Assistant("m", tools=[tool(name="get_weather")(published)]))
            with pytest.raises(ValueError, match="there are two functions called 'get_weather'"):
                runtime.start(assistant_id)


def test_an_error_while_one_call_is_considered_loses_no_result_of_another_call(caplog):
    ran = []

    def get_weather(city: str) -> int:
        ran.append(city)
        world.server.fails = True
        return 21

    both = Call((("get_weather", '{"city":"Oslo"}'), ("by_hand", "{}")))
    world = World(both, Answer("Done"), tools=[get_weather])
    world.server.__class__ = MoodyServer
    agent = world.connect(subscribe=lambda agent, event: None)
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert "not now" in caplog.text
    assert (ran, world.outputs()) == (["Oslo"], ["21"])
    agent.submit_tool_output(agent.open_tool_calls[0].id, "done")
    assert agent.wait(timeout=PATIENCE) == "idle"


def test_waiting_inside_a_function_is_refused():
    caught = []

    def get_weather(city: str, context: ToolContext) -> int:
        for wait in (context.agent.wait, lambda: context.agent.ask("Again")):
            with pytest.raises(errors.WaitInHandler, match=r"was called inside the function of a tool.* return first"):
                wait()
            caught.append(wait)
        return 1

    world = World(WEATHER, Answer("Done"), tools=[get_weather])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert len(caught) == 2


def test_a_run_that_goes_round_and_round_is_ended():
    def get_weather(city: str) -> int:
        return 1

    world = World(*[WEATHER] * 10, Answer("Done"), tools=[get_weather], max_tool_rounds=3)
    with pytest.raises(errors.RunError) as caught:
        world.connect().ask("Hello", timeout=PATIENCE)
    assert caught.value.code == "max_tool_rounds"
    assert world.names().count("ToolStarted") == 3
