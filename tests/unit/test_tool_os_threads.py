"""Functions that answer tool calls on OS threads, over the wire, and while a runtime closes."""

import threading

import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, ToolContext, events, tool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer
from tests.unit.tool_worlds import PATIENCE, WEATHER, SlowWorld, get_weather, make_tool

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
    assert "functions of tools that have not ended, and whose outputs are lost: 1" in caplog.text
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
