"""The trace hooks: when they are called, on which OS thread, with which keys, and what a broken hook may harm."""

import threading

import pytest

from gpt_agent_fsm import Runtime, errors
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.errors import AgentNotAlive, StoreError
from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualClock, VirtualScheduler

KEYS = {
    "message_accepted": {"thread_id", "key"},
    "request": {"thread_id", "operation", "outcome", "status", "key", "seconds"},
    "tool_started": {"thread_id", "run_id", "call_id", "tool"},
    "tool_ended": {"thread_id", "run_id", "call_id", "tool", "outcome", "seconds"},
    "tick": {"thread_id", "late", "seconds", "settled"},
    "commit": {"thread_id", "records", "seconds"},
}
WEATHER = Call((("get_weather", '{"city":"Oslo"}'),))
SECRET = "the moon is made of cheese"


class Hook:
    """A trace hook that keeps what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, name, info):
        self.calls.append((name, dict(info), threading.get_ident()))

    def named(self, name):
        return [info for each, info, _ in self.calls if each == name]

    def names(self):
        return [name for name, _, _ in self.calls if name not in ("tick", "commit")]


def get_weather(city: str) -> str:
    return SECRET


def broken(city: str) -> str:
    raise LookupError(SECRET)


def traced(*steps, server=None, **options):
    """Return a hook, and a runtime in virtual time whose runs take these steps."""
    hook = Hook()
    server = server or SimulatedServer(lambda text: list(steps) or [Answer("Done")])
    options = {"trace": hook, "scheduler": VirtualScheduler(), **options}
    return hook, Runtime(server, **options)


# --- what the hook is called with --------------------------------------------------------------------------


def test_each_thing_that_happens_in_a_turn_is_told_in_order_with_its_keys():
    hook, runtime = traced(WEATHER, Answer(SECRET), tools=[get_weather])
    with runtime:
        agent = runtime.start("a")
        agent.ask(SECRET, timeout=60)
    functions, three = ["tool_started", "tool_ended"], ["request"] * 3
    assert hook.names() == ["message_accepted", *three, *functions, *three]
    operations = ["post_message", "create_run", "get_run", "submit_tool_outputs", "get_run", "list_messages"]
    assert [info["operation"] for info in hook.named("request")] == operations
    assert {name: set(info) for name, info, _ in hook.calls} == KEYS
    assert {info["thread_id"] for _, info, _ in hook.calls} == {agent.thread_id}


def test_no_text_argument_or_output_is_told():
    hook, runtime = traced(Call((("get_weather", '{"city":"' + SECRET + '"}'),)), Answer(SECRET), tools=[get_weather])
    with runtime:
        runtime.start("a").ask(SECRET, timeout=60)
    assert SECRET not in repr(hook.calls)


def test_a_message_and_the_requests_that_send_it_and_create_its_run_have_one_key():
    hook, runtime = traced()
    with runtime:
        agent = runtime.start("a")
        keys = [agent.add_user_message("One"), agent.add_user_message("Two")]
        agent.wait(timeout=60)
    assert [info["key"] for info in hook.named("message_accepted")] == keys
    told = [(info["operation"], info["key"]) for info in hook.named("request") if info["key"] is not None]
    assert told == [(operation, key) for key in keys for operation in ("post_message", "create_run")]


def test_a_message_that_was_not_accepted_is_not_told():
    hook, runtime = traced()
    with runtime:
        agent = runtime.start("a")
        agent.shutdown()
        with pytest.raises(AgentNotAlive):
            agent.add_user_message("Hello")
        agent = runtime.start("a")
        runtime._store.accept = lambda thread_id, command: (_ for _ in ()).throw(StoreError("full"))
        with pytest.raises(StoreError):
            agent.add_user_message("Hello")
        del runtime._store.accept
    assert hook.named("message_accepted") == []


@pytest.mark.parametrize(
    ("function", "arguments", "outcome"),
    [
        (get_weather, '{"city":"Oslo"}', "ok"),
        (broken, '{"city":"Oslo"}', "LookupError"),
        (get_weather, "{}", "ToolArgumentsError"),
    ],
)
def test_the_outcome_of_a_function_is_ok_or_the_class_of_its_error(function, arguments, outcome):
    hook, runtime = traced(Call(((function.__name__, arguments),)), Answer("Done"), tools=[function])
    with runtime:
        runtime.start("a").ask("Hello", timeout=60)
    [ended] = hook.named("tool_ended")
    [started] = hook.named("tool_started")
    assert ended == {**started, "outcome": outcome, "seconds": ended["seconds"]}
    assert started["tool"] == function.__name__


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [
        (errors.TransientError(429, None, "Slow down."), "429", 429),
        (errors.OutcomeUnknown(None, None, "Lost.", in_flight=True), "OutcomeUnknown", None),
        (errors.TransientError(None, None, "No server."), "TransientError", None),
        (errors.AccessDenied(None, None, "No token."), "AccessDenied", None),
        (errors.RequestRefused(None, None, "No such part."), "RequestRefused", None),
        (errors.ThreadBusy(None, None, "Busy."), "ThreadBusy", None),
        (errors.OutcomeUnknown(200, None, "Not JSON."), "OutcomeUnknown", 200),
    ],
)
def test_the_outcome_of_a_request_is_ok_or_its_status_or_the_class_of_its_error(error, outcome, status):
    class Failing(SimulatedServer):
        fails = True

        def post_message(self, *args, **options):
            if self.fails:
                self.fails = False
                raise error
            return super().post_message(*args, **options)

    hook, runtime = traced(server=Failing())
    with runtime:
        runtime.start("a").add_user_message("Hello")
        runtime.scheduler.settle()
    first = hook.named("request")[0]
    assert (first["operation"], first["outcome"], first["status"]) == ("post_message", outcome, status)


def test_a_request_takes_the_seconds_until_its_answer():
    class Slow(SimulatedServer):
        def post_message(self, *args, **options):
            runtime.scheduler.clock.now += 2.5
            return super().post_message(*args, **options)

    hook, runtime = traced(server=Slow())
    with runtime:
        runtime.start("a").ask("Hello", timeout=60)
    assert [info["seconds"] for info in hook.named("request")] == [2.5, 0, 0, 0]


def test_a_commit_has_the_number_of_its_records_and_its_seconds():
    class Slow(MemoryStore):
        def commit(self, *args, **options):
            runtime.scheduler.clock.now += 0.25
            return super().commit(*args, **options)

    hook, runtime = traced(store=Slow())
    with runtime:
        agent = runtime.start("a")
        agent.ask("Hello", timeout=60)
        history = runtime.history(agent.thread_id)
    assert sum(info["records"] for info in hook.named("commit")) == len(history)
    assert {info["seconds"] for info in hook.named("commit")} == {0.25}


# --- ticks -------------------------------------------------------------------------------------------------


def test_a_tick_is_late_if_its_timer_ended_before_it():
    hook, runtime = traced()
    with runtime:
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        runtime.scheduler.settle()
        before = len(hook.named("tick"))
        runtime.scheduler.sleep(runtime.settings.heartbeat_interval + 3)
        agent.wait(timeout=60)
    late = [info["late"] for info in hook.named("tick")]
    assert late[before] == 3
    assert set(late[:before]) == {0}


def test_a_tick_is_late_if_it_was_woken_before_it():
    hook, runtime = traced()
    with runtime:
        agent = runtime.start("a")
        runtime.scheduler.settle()
        before = len(hook.named("tick"))
        agent.add_user_message("Hello")
        runtime.scheduler.sleep(2)
        agent.add_user_message("Again")
        runtime.scheduler.settle()
    assert hook.named("tick")[before]["late"] == 2


def test_a_tick_is_late_if_it_was_woken_during_the_tick_before_it():
    def hear(agent, event):
        if type(event).__name__ == "UserMessageAdded" and len(hook.named("message_accepted")) == 1:
            agent.add_user_message("Again")
            runtime.scheduler.clock.now += 2

    hook, runtime = traced()
    with runtime:
        runtime.start("a", subscribe=hear).add_user_message("Hello")
        runtime.scheduler.settle()
    assert [info["late"] for info in hook.named("tick")][:2] == [0, 2]


def test_the_last_tick_of_a_turn_is_settled_and_no_other():
    hook, runtime = traced()
    with runtime:
        runtime.start("a").ask("Hello", timeout=60)
        settled = [info["settled"] for info in hook.named("tick")]
    assert settled[-1]
    assert settled.count(True) == 1


def test_a_tick_that_fails_is_told(monkeypatch):
    hook, runtime = traced()
    with runtime:
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        monkeypatch.setattr(type(agent._driver), "tick", lambda self: 1 / 0)
        hook.calls.clear()
        with pytest.raises(ZeroDivisionError):
            runtime.scheduler.settle()
        monkeypatch.undo()
    assert hook.named("tick")


# --- OS threads --------------------------------------------------------------------------------------------


def test_a_message_is_told_on_the_thread_of_its_caller_and_a_function_on_its_own():
    ran, hook = [], Hook()

    def get_weather(city: str) -> str:
        ran.append(threading.get_ident())
        return "warm"

    def model(request: ModelRequest):
        return "Done" if request.outputs else [ToolCall("get_weather", {"city": "Oslo"})]

    with (
        LocalServer(model) as server,
        Runtime(AssistantsBackend(server.base_url), tools=[get_weather], trace=hook) as runtime,
    ):
        agent = runtime.start("asst_1")
        agent.ask("Hello", timeout=60)
        for _ in agent.stream("Hello", timeout=60):
            pass
    on = {name: {ident for each, _, ident in hook.calls if each == name} for name in KEYS}
    assert on["message_accepted"] == {threading.get_ident()}
    assert on["tool_started"] == on["tool_ended"] == set(ran)
    assert threading.get_ident() not in on["request"] | on["tick"] | set(ran)


def test_a_message_is_told_before_its_first_request_even_if_a_tick_runs():
    """The hook lets every tick run that can run before the message is in the inbox."""
    order = []

    def hook(name, info):
        if name == "message_accepted":
            assert agent._driver.commands() == []
            scheduler.settle()
        order.append((name, info.get("operation")))

    scheduler = VirtualScheduler()
    with Runtime(SimulatedServer(), trace=hook, scheduler=scheduler) as runtime:
        agent = runtime.start("a")
        agent.ask("Hello", timeout=60)
    told = [each for each in order if each[0] in ("message_accepted", "request")]
    assert told[:2] == [("message_accepted", None), ("request", "post_message")]


# --- several hooks, and broken ones ------------------------------------------------------------------------


def test_each_of_several_hooks_is_called_until_it_is_removed():
    first, runtime = traced()
    second = Hook()
    with runtime:
        agent = runtime.start("a")
        remove = runtime.add_trace(second)
        runtime.add_trace(second)()
        agent.ask("Hello", timeout=60)
        remove()
        remove()
        heard = len(second.calls)
        assert second.calls == first.calls[-heard:]
        agent.ask("Again", timeout=60)
    assert len(second.calls) == heard < len(first.calls)


@pytest.mark.parametrize("error", [LookupError, SystemExit, GeneratorExit])
def test_a_hook_that_raises_harms_nothing_and_is_logged_once_for_each_name(error, caplog):
    def fails(name, info):
        raise error("broken")

    heard, runtime = traced(WEATHER, Answer("Done"), tools=[get_weather], trace=fails)
    runtime.add_trace(heard)
    with runtime:
        agent = runtime.start("a")
        assert agent.ask("Hello", timeout=60).text == "Done"
        assert agent.ask("Again", timeout=60).text == "Done"
    assert {name for name, _, _ in heard.calls} == set(KEYS)
    complaints = [record.getMessage() for record in caplog.records if record.name == "gpt_agent_fsm.engine.tracing"]
    assert len(complaints) == len(caplog.records) == len(KEYS)
    assert "fails failed on commit" in "".join(complaints)


def test_a_hook_cannot_change_what_the_next_hook_hears():
    def meddles(name, info):
        info["thread_id"] = "another"

    heard, runtime = traced(trace=meddles)
    runtime.add_trace(heard)
    with runtime:
        agent = runtime.start("a")
    assert {info["thread_id"] for _, info, _ in heard.calls} == {agent.thread_id}


def test_a_hook_that_was_removed_during_a_function_hears_its_end():
    hook, remove = Hook(), []

    def get_weather(city: str) -> str:
        remove[0]()
        return "warm"

    _, runtime = traced(WEATHER, Answer("Done"), tools=[get_weather])
    remove.append(runtime.add_trace(hook))
    with runtime:
        runtime.start("a").ask("Hello", timeout=60)
    assert hook.names()[-2:] == ["tool_started", "tool_ended"]


@pytest.mark.parametrize("trace", ["text", lambda name: None, 3])
def test_something_that_cannot_be_called_with_a_name_and_a_mapping_is_refused(trace):
    with pytest.raises(TypeError, match=r"trace must be callable as trace\(name, info\)"):
        traced(trace=trace)
    _, runtime = traced()
    with runtime, pytest.raises(TypeError, match=r"trace must be callable as trace\(name, info\)"):
        runtime.add_trace(trace)


def test_a_clock_that_fails_takes_nothing_back_that_has_happened():
    clock = VirtualClock()
    trace, hook = Trace(clock), Hook()
    trace.add(hook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VirtualClock, "monotonic", lambda self: 1 / 0)
        trace.ended("commit", 0.0, records=1)
    assert hook.named("commit") == [{"records": 1, "seconds": 0.0}]
