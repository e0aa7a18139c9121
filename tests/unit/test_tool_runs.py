"""Functions answer tool calls: when they are started, what becomes of their outputs, and what a crash leaves behind."""

import sys
import threading

import attrs
import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, ToolContext, errors, events, signals, tool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

WEATHER = Call((("get_weather", '{"city":"Oslo"}'),))
PATIENCE = 60


class World:
    """A server and a store that outlive the processes that use them."""

    def __init__(self, *steps, tools=(), **settings):
        plans = [list(steps)]
        self.server = SimulatedServer(lambda text: plans.pop(0) if plans else [Answer("Later")])
        self.store, self.settings = MemoryStore(), Settings(**settings)
        self.start(tools)

    def start(self, tools=(), pause=0.0):
        """Let the process that runs die without a word, and a new one begin after `pause` seconds."""
        before = getattr(self, "scheduler", None)
        self.scheduler = VirtualScheduler()
        if before is not None:
            self.scheduler.sleep(before.clock.monotonic() + pause)
        handle = StoreHandle(self.store)
        self.runtime = Runtime(self.server, self.settings, handle, tools=tools, scheduler=self.scheduler)

    def connect(self, thread_id=None, **options):
        self.thread_id = thread_id or self.runtime.create_thread()
        return self.runtime.connect(thread_id=self.thread_id, assistant_id="a", last_message_id=None, **options)

    def happened(self):
        return [
            record.event
            for record in self.runtime.history(self.thread_id)
            if type(record.event).__name__.startswith("Tool")
        ]

    def names(self):
        return [type(event).__name__ for event in self.happened()]

    def outputs(self):
        return [event.output for event in self.happened() if isinstance(event, events.ToolCallOutputRecorded)]


def deny_polls(*args, **options):
    raise errors.AccessDenied(401, None, "No")


class MoodyServer(SimulatedServer):
    fails = False

    @property
    def functions(self):
        if self.fails:
            self.fails = False
            raise LookupError("not now")
        return ()


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


def other() -> int:
    return 1


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


class SlowWorld(World):
    """A world whose functions take `seconds`."""

    def __init__(self, seconds, *steps, tools, **settings):
        super().__init__(*steps, tools=tools, **settings)
        self.runtime._roster.jobs._run_soon = lambda function: self.scheduler.call_later(seconds, function)


def get_weather(city: str) -> int:
    return 21


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


# --- approvals ----------------------------------------------------------------------------------------


def make_tool(approve, ran, **options):
    @tool(approve=approve, **options)
    def get_weather(city: str) -> int:
        ran.append(city)
        return 1

    return get_weather


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


def count_ticks(scheduler, monkeypatch):
    """Return a list that grows with each tick; a loop without a pause fails the test instead of hanging."""
    ticks, tick = [], scheduler._tick

    def counted(task):
        ticks.append(task)
        assert len(ticks) < 1_000, "the thread ticks without a pause"
        return tick(task)

    monkeypatch.setattr(scheduler, "_tick", counted)
    return ticks


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


# --- with OS threads, over the wire ---------------------------------------------------------------------

QUICK = Settings(heartbeat_interval=0.02, receive_timeout=20)


def weather_model(request):
    last = request.messages[-1]
    if last["role"] == "user":
        return [ToolCall("get_weather", {"city": "Oslo"})]
    return f"It is {last['content']}"


def test_the_functions_of_published_assistants_answer_without_being_said_twice():
    def get_weather(city: str) -> int:
        return 21

    with LocalServer(weather_model) as server:
        backend = AssistantsBackend(server.base_url, "k")
        assistant_id = backend.publish(Assistant("m", tools=[get_weather]))
        with Runtime(backend, QUICK) as runtime:
            assert runtime.start(assistant_id).ask("How warm?", timeout=PATIENCE).text == "It is 21"


def test_the_functions_of_the_assistants_of_responses_answer():
    def get_weather(city: str) -> int:
        return 21

    with LocalServer(weather_model) as server:
        assistants = {"asst_1": Assistant("m", tools=[get_weather])}
        with Runtime(ResponsesBackend(server.base_url, "k", assistants=assistants), QUICK) as runtime:
            assert runtime.start("asst_1").ask("How warm?", timeout=PATIENCE).text == "It is 21"


def test_the_calls_of_one_round_run_at_the_same_time():
    both = threading.Barrier(2)

    def one() -> int:
        both.wait(PATIENCE)
        return 1

    def two() -> int:
        both.wait(PATIENCE)
        return 2

    def model(request):
        return [ToolCall("one", {}), ToolCall("two", {})] if request.messages[-1]["role"] == "user" else "Done"

    with LocalServer(model) as server, Runtime(AssistantsBackend(server.base_url, "k"), QUICK, tools=[one, two]) as run:
        answer = run.start("asst_1").ask("Hello", timeout=PATIENCE)
    assert answer.text == "Done"


@pytest.mark.parametrize("retry", ["never", "safe"])
def test_a_function_that_takes_too_long_is_told_to_stop_and_the_model_is_told(retry, caplog):
    told, ended = threading.Event(), threading.Event()

    @tool(timeout=0.05, retry=retry)
    def get_weather(city: str, context: ToolContext) -> int:
        while not context.cancelled():
            ended.wait(0.005)
        told.set()
        assert ended.wait(PATIENCE)
        return 1

    with (
        LocalServer(weather_model) as server,
        Runtime(AssistantsBackend(server.base_url, "k"), QUICK, tools=[get_weather]) as runtime,
    ):
        agent = runtime.start("asst_1")
        answer = agent.ask("How warm?", timeout=PATIENCE)
        names = [type(record.event).__name__ for record in runtime.history(agent.thread_id)]
        assert told.wait(PATIENCE)
        ended.set()
    assert "did not end within 0.05 seconds" in answer.text
    assert ("ToolOutcomeUnknown" in names) == (retry == "never")


def test_the_end_of_the_run_is_told_to_the_function():
    began, told = threading.Event(), threading.Event()

    def get_weather(city: str, context: ToolContext) -> int:
        began.set()
        for _ in range(10_000):
            if context.cancelled():
                told.set()
                break
            told.wait(0.005)
        return 1

    with (
        LocalServer(weather_model) as server,
        Runtime(AssistantsBackend(server.base_url, "k"), QUICK, tools=[get_weather]) as runtime,
    ):
        agent = runtime.start("asst_1")
        agent.add_user_message("How warm?")
        assert began.wait(PATIENCE)
        agent.cancel_run()
        assert agent.wait(timeout=PATIENCE) == "failed"
        assert told.wait(PATIENCE)


def test_close_waits_for_a_function_and_saves_its_output():
    began, go_on = threading.Event(), threading.Event()

    def get_weather(city: str) -> int:
        began.set()
        assert go_on.wait(PATIENCE)
        return 21

    store = MemoryStore()
    with LocalServer(weather_model) as server:
        runtime = Runtime(AssistantsBackend(server.base_url, "k"), QUICK, store, tools=[get_weather])
        agent = runtime.start("asst_1")
        agent.add_user_message("How warm?")
        assert began.wait(PATIENCE)
        closing = threading.Thread(target=runtime.close)
        closing.start()
        go_on.set()
        closing.join(PATIENCE)
        assert not closing.is_alive()
    assert any(isinstance(record.event, events.ToolCallOutputRecorded) for record in store.history(agent.thread_id))


@pytest.fixture
def slow_tool():
    """A function that has begun and runs until `go_on`, and what it sees."""

    class Slow:
        began, go_on, told = threading.Event(), threading.Event(), threading.Event()

        def get_weather(self, city: str, context: ToolContext) -> int:
            self.began.set()
            assert self.go_on.wait(PATIENCE)
            if context.cancelled():
                self.told.set()
            return 21

    slow = Slow()
    yield slow
    slow.go_on.set()


def running_tool(slow, receive_timeout, store=None):
    """Return a runtime, and an agent whose run waits for the slow function."""
    settings = Settings(heartbeat_interval=0.02, receive_timeout=receive_timeout)
    runtime = Runtime(SimulatedServer(lambda text: [WEATHER]), settings, store, tools=[slow.get_weather])
    agent = runtime.start("asst_1")
    agent.add_user_message("How warm?")
    assert slow.began.wait(PATIENCE)
    return runtime, agent


def rest(runtime, agent):
    """Wait until the last tick of the agent has ended, so that nothing else wakes the thread."""
    agent.submit_tool_output("unknown", None)
    driver, changed = agent._driver, threading.Event()
    with driver.waiters.added(changed):
        assert runtime.scheduler.wait(lambda: driver.is_quiet() and not driver._ticking, changed, PATIENCE)


def test_close_does_not_wait_for_a_rule_because_no_function_will_be_started():
    began, go_on, store = threading.Event(), threading.Event(), MemoryStore()

    def rule(call):
        began.set()
        return go_on.wait(PATIENCE)

    settings = Settings(heartbeat_interval=0.02, receive_timeout=10 * PATIENCE)
    tools = [make_tool(rule, [])]
    runtime = Runtime(SimulatedServer(lambda text: [WEATHER]), settings, store, tools=tools)
    agent = runtime.start("asst_1")
    agent.add_user_message("How warm?")
    assert began.wait(PATIENCE)
    rest(runtime, agent)
    closing = threading.Thread(target=runtime.close)
    closing.start()
    closing.join(PATIENCE / 6)
    assert not closing.is_alive()
    go_on.set()
    assert not any(isinstance(record.event, events.ToolStarted) for record in store.history(agent.thread_id))


def test_close_does_not_wait_for_a_function_whose_agent_was_shut_down(slow_tool):
    runtime, agent = running_tool(slow_tool, receive_timeout=10 * PATIENCE)
    agent.shutdown()
    closing = threading.Thread(target=runtime.close, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_close_tells_a_function_that_it_no_longer_waits_for_to_stop(slow_tool, caplog):
    runtime, _ = running_tool(slow_tool, receive_timeout=0.05)
    runtime.close()
    assert "1 functions of tools have not ended" in caplog.text
    slow_tool.go_on.set()
    assert slow_tool.told.wait(PATIENCE)


def test_close_in_virtual_time_waits_for_a_function_in_virtual_time():
    world = SlowWorld(10, WEATHER, Answer("Done"), tools=[get_weather], receive_timeout=3_000)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(3)
    world.runtime.close()
    assert [type(record.event).__name__ for record in world.store.history(world.thread_id)].count(
        "ToolCallOutputRecorded"
    ) == 1


def test_no_function_is_started_while_the_runtime_closes():
    ran = []

    def first() -> int:
        ran.append("first")
        return 1

    def second() -> int:
        ran.append("second")
        return 2

    world = SlowWorld(10, Call((("first", "{}"),)), Call((("second", "{}"),)), tools=[first, second])
    world.connect().add_user_message("Hello")
    world.scheduler.advance(3)
    world.runtime._roster.await_tools(60)
    # The agent continues for a moment after the last result was taken.
    world.scheduler.advance(60)
    assert ran == ["first"]
    assert world.runtime.get(world.thread_id).state == "awaiting_tools"


def test_no_more_functions_run_at_once_than_the_setting_says():
    running, most, lock = [], [], threading.Lock()

    def work(number: int) -> int:
        with lock:
            running.append(number)
            most.append(len(running))
        with lock:
            running.remove(number)
        return number

    def model(request):
        calls = [ToolCall("work", {"number": number}) for number in range(20)]
        return calls if request.messages[-1]["role"] == "user" else "Done"

    settings = Settings(heartbeat_interval=0.02, tool_workers=2)
    with LocalServer(model) as server, Runtime(AssistantsBackend(server.base_url, "k"), settings, tools=[work]) as run:
        assert run.start("asst_1").ask("Hello", timeout=PATIENCE).text == "Done"
    assert len(most) == 20
    assert max(most) <= 2
