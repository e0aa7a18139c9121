"""Tool calls that a person or a rule must approve."""

import sys

import attrs
import pytest

from gpt_agent_fsm import events, signals, tool
from gpt_agent_fsm.testing import Answer, Call
from tests.unit.tool_worlds import (
    PATIENCE,
    WEATHER,
    World,
    count_ticks,
    deny_polls,
    make_tool,
)

# --- approvals ----------------------------------------------------------------------------------------


def test_a_function_that_needs_an_approval_waits_for_a_person_over_a_restart():
    ran = []
    tools = [make_tool(True, ran)]
    world = World(WEATHER, Answer("Done"), tools=tools)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(10)
    world.start(tools, pause=100)
    (agent,) = world.runtime.agents
    world.scheduler.advance(100)
    assert agent.state == "awaiting_tools"
    assert agent.open_tool_calls == ()
    (asked,) = agent.open_approvals
    assert (asked.name, asked.arguments) == ("get_weather", {"city": "Oslo"})
    assert "waits for the approval of get_weather" in agent.explain()
    assert ran == []
    agent.approve(asked.id, by="ann", note="fine")
    assert agent.open_approvals == ()
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert ran == ["Oslo"]
    assert world.names() == [
        "ToolCallRequested",
        "ToolApprovalRequested",
        "ToolApproved",
        "ToolStarted",
        "ToolCallOutputRecorded",
    ]


def test_a_denied_call_tells_the_model_why_and_the_function_does_not_run():
    ran = []
    world = World(WEATHER, Answer("Done"), tools=[make_tool(True, ran)])
    agent = world.connect()

    def deny(agent, event):
        agent.deny(event.id, "too far", by="ann")

    with signals.tool_approval_requested.connected_to(deny):
        agent.ask("Hello", timeout=PATIENCE)
    assert ran == []
    assert world.outputs() == ['{"error":"The call was denied: too far"}']


@pytest.mark.parametrize(
    ("verdict", "names"),
    [
        (True, ["ToolCallRequested", "ToolStarted", "ToolCallOutputRecorded"]),
        (False, ["ToolCallRequested", "ToolDenied", "ToolCallOutputRecorded"]),
        (None, ["ToolCallRequested", "ToolApprovalRequested"]),
    ],
)
def test_a_rule_decides_or_asks_a_person(verdict, names):
    asked = []

    def rule(call):
        asked.append((call.name, call.arguments))
        return verdict

    world = World(WEATHER, Answer("Done"), tools=[make_tool(rule, [])])
    world.connect().add_user_message("Hello")
    world.scheduler.advance(30)
    assert asked == [("get_weather", {"city": "Oslo"})]
    assert world.names() == names


def test_a_rule_that_fails_asks_a_person(caplog):
    def rule(call):
        raise LookupError("broken")

    world = World(WEATHER, Answer("Done"), tools=[make_tool(rule, [])])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert len(agent.open_approvals) == 1
    assert "the rule of the tool get_weather failed" in caplog.text


@pytest.mark.parametrize(("timeout", "limit"), [(None, 40), (5, 5), (90, 90)])
def test_a_rule_that_does_not_decide_in_time_asks_a_person_and_its_late_verdict_is_dropped(timeout, limit, caplog):
    ran, seen = [], []

    def rule(call):
        for seconds in (limit - 1, 2):
            world.scheduler.advance(seconds)
            seen.append(agent.open_approvals)
        return True

    slow = make_tool(rule, ran, timeout=timeout)
    world = World(WEATHER, Answer("Done"), tools=[slow], receive_timeout=40, tool_workers=1)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(300)
    (asked,) = agent.open_approvals
    assert (seen, ran) == ([(), (asked,)], [])
    assert f"did not decide about the call {asked.id} within {limit} seconds; a person is asked" in caplog.text
    agent.approve(asked.id)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert ran == ["Oslo"]


@pytest.mark.parametrize("approve", [True, lambda call: None])
def test_nobody_is_asked_about_a_call_with_wrong_arguments(approve):
    ran = []
    wrong = Call((("get_weather", '{"town":"Oslo"}'),))
    world = World(wrong, Answer("Done"), tools=[make_tool(approve, ran)])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert (world.names(), ran) == (["ToolCallRequested", "ToolCallOutputRecorded"], [])
    assert "town" in world.outputs()[0]


@attrs.frozen
class Order:
    number: int = attrs.field(validator=lambda _, __, number: sys.exit(number))


@pytest.mark.parametrize("approve", [True, lambda call: None, False])
def test_a_class_that_raises_for_its_arguments_stops_no_thread(approve, caplog):
    @tool(approve=approve)
    def refund(order: Order) -> str:
        raise AssertionError("never called")

    world = World(Call((("refund", '{"order":{"number":17}}'),)), Answer("Done"), tools=[refund])
    world.connect().ask("Hello", timeout=PATIENCE)
    assert world.outputs() == ['{"error":"SystemExit: 17"}']
    assert "ToolApprovalRequested" not in world.names()
    assert "the tool refund failed on the call" in caplog.text


def test_an_approval_that_was_accepted_in_time_counts_even_if_the_tick_is_late():
    ran = []
    world = World(WEATHER, Answer("Done"), tools=[make_tool(True, ran)], approval_timeout=100)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    agent.approve(agent.open_approvals[0].id)
    world.scheduler.sleep(100)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert "ToolDenied" not in world.names()
    assert ran == ["Oslo"]


def test_a_question_that_expires_while_its_run_is_not_followed_is_denied_when_it_is_followed_again(monkeypatch):
    world = World(WEATHER, Answer("Done"), tools=[make_tool(True, [])], approval_timeout=200, request_max_attempts=2)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    with monkeypatch.context() as patch:
        patch.setattr(world.server, "get_run", deny_polls)
        world.scheduler.advance(160)
        assert agent.failure.parked
    count_ticks(world.scheduler, monkeypatch)
    world.scheduler.advance(40)
    assert "ToolDenied" not in world.names()
    world.connect(world.thread_id)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert world.names().count("ToolDenied") == 1


def test_a_rule_that_hangs_while_its_run_is_not_followed_costs_no_ticks_and_a_person_is_asked_later(monkeypatch):
    parked = []

    def rule(call):
        with monkeypatch.context() as patch:
            patch.setattr(world.server, "get_run", deny_polls)
            world.scheduler.advance(80)
            parked.append(agent.failure.parked)
        world.connect(world.thread_id)
        world.scheduler.advance(10)
        return True

    slow = make_tool(rule, [], timeout=60)
    world = World(WEATHER, Answer("Done"), tools=[slow], idle_timeout=50, request_max_attempts=2)
    agent = world.connect()
    count_ticks(world.scheduler, monkeypatch)
    agent.add_user_message("Hello")
    world.scheduler.advance(15)
    assert parked == [True]
    assert len(agent.open_approvals) == 1


class Undecided:
    def __bool__(self):
        raise ValueError("ambiguous")


@pytest.mark.parametrize("verdict", [Undecided(), "no", 1, 0, object])
def test_a_verdict_that_is_neither_true_nor_false_asks_a_person(verdict, caplog):
    ran = []
    world = World(WEATHER, Answer("Done"), tools=[make_tool(lambda call: verdict, ran)])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert len(agent.open_approvals) == 1
    assert ran == []
    assert f"it must return True, False or None, not {type(verdict).__name__}" in caplog.text


def test_an_approval_that_nobody_gives_is_denied_in_time_across_restarts():
    tools = [make_tool(True, [])]
    world = World(WEATHER, Answer("Done"), tools=tools, approval_timeout=100)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(60)
    world.start(tools)
    world.scheduler.advance(30)
    assert "ToolDenied" not in world.names()
    world.scheduler.advance(30)
    (denied,) = (event for event in world.happened() if isinstance(event, events.ToolDenied))
    assert (denied.by, denied.reason) == (None, "nobody decided within 100 seconds")


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_setting_the_clock_moves_no_deadline_of_an_approval(jump):
    two = Call((*WEATHER.calls, ("measure", "{}")))
    world = World(two, Answer("Done"), tools=[make_tool(True, [])], approval_timeout=100)
    agent = world.connect(subscribe=lambda *_: None)
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    world.scheduler.set_time_of_day(jump)
    measure = next(call for call in agent.open_tool_calls if call.name == "measure")
    agent.submit_tool_output(measure.id, "7")
    world.scheduler.advance(60)
    assert "ToolDenied" not in world.names()
    world.scheduler.advance(30)
    assert "ToolDenied" in world.names()


def test_the_tool_timeout_stands_still_while_only_a_person_is_waited_for():
    world = World(WEATHER, Answer("Done"), tools=[make_tool(True, [])], tool_timeout=50)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(500)
    assert agent.state == "awaiting_tools"
    agent.approve(agent.open_approvals[0].id)
    assert agent.wait(timeout=PATIENCE) == "idle"


def test_the_tool_timeout_runs_while_another_call_is_open():
    both = Call((("get_weather", '{"city":"Oslo"}'), ("by_hand", "{}")))
    world = World(both, Answer("Done"), tools=[make_tool(True, [])], tool_timeout=50)
    agent = world.connect(subscribe=lambda agent, event: None)
    agent.add_user_message("Hello")
    assert agent.wait(timeout=100) == "failed"
    assert agent.failure.code == "timeout"


def test_a_decision_for_an_unknown_call_is_ignored(caplog):
    world = World(Answer("Done"))
    agent = world.connect()
    agent.approve("call_9")
    agent.deny("call_9", "no")
    agent.ask("Hello", timeout=PATIENCE)
    assert caplog.text.count("the call does not wait for an approval") == 2


@pytest.mark.parametrize("call", [lambda agent: agent.approve(""), lambda agent: agent.deny(None)])
def test_a_blank_call_id_is_refused(call):
    with pytest.raises(ValueError, match="tool call id"):
        call(World().connect())


def test_a_call_that_the_server_makes_itself_waits_for_a_person():
    world, sent = World(WEATHER, Answer("Done")), []
    get_run, submit = world.server.get_run, world.server.submit_tool_outputs

    def by_server(*args, **options):
        run = get_run(*args, **options)
        return attrs.evolve(run, tool_calls=tuple(attrs.evolve(call, by_server=True) for call in run.tool_calls))

    def decide(request, *, timeout):
        sent.append((request.outputs, request.decisions))
        return submit(attrs.evolve(request, outputs=request.decisions, decisions=()), timeout=timeout)

    world.server.get_run, world.server.submit_tool_outputs = by_server, decide
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(30)
    assert agent.open_tool_calls == ()
    (asked,) = agent.open_approvals
    agent.approve(asked.id)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert sent == [((), ((asked.id, '{"approve": true}'),))]
    assert world.names() == ["ToolCallRequested", "ToolApprovalRequested", "ToolApproved"]
