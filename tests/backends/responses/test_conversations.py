"""Whole conversations over Responses with the embedded server: resuming, and waiting for locks and lists."""

import threading

import pytest
import requests

from gpt_agent_fsm import Assistant, FunctionTool, Runtime, Settings
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.stores import MemoryStore

QUICK = Settings(heartbeat_interval=0.02, rate_limit_retry_delay=0.02)
ASSISTANTS = {"asst_1": Assistant("gpt-4o", "", [FunctionTool("measure")])}


class KeptStore(MemoryStore):
    """A store that outlives its runtimes, as a file does."""

    def close(self):
        pass


class World:
    """A server whose model answers on a signal, and one runtime after the other."""

    def __init__(self, **options):
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Semaphore(0)
        self.heard = []
        self.changed = threading.Condition()
        self.server = LocalServer(self.model, **options)

    def model(self, request):
        self.asked.release()
        while not self.may_answer.wait(0.01):
            if request.cancelled.is_set():
                return "too late"
        if "measure" in request.user_message and not request.outputs:
            return [ToolCall("measure", {"x": 1})]
        return f"You said: {request.user_message}" if not request.outputs else f"Measured {request.outputs[0]}"

    def hear(self, agent, event):
        with self.changed:
            self.heard.append(event)
            self.changed.notify_all()

    def wait_for(self, name):
        with self.changed:
            assert self.changed.wait_for(lambda: name in self.names(), 20), self.names()

    def names(self):
        return [type(event).__name__ for event in self.heard if type(event).__name__ != "StateChanged"]

    def event(self, name):
        """The only event of a class."""
        (event,) = [event for event in self.heard if type(event).__name__ == name]
        return event

    def answers(self):
        return [event.content for event in self.heard if type(event).__name__ == "AssistantMessageAdded"]

    def runtime(self, store=None):
        return Runtime(ResponsesBackend(self.server.base_url, assistants=ASSISTANTS), QUICK, store)

    def connect(self, runtime, thread_id=None):
        thread_id = thread_id or runtime.create_thread()
        return runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None, subscribe=self.hear)


@pytest.fixture
def world():
    made = World()
    yield made
    made.may_answer.set()
    made.server.close()


@pytest.mark.parametrize("kept", [True, False], ids=["with a store", "without a store"])
def test_a_run_in_progress_is_resumed_by_the_next_process(world, kept):
    store = KeptStore()
    world.may_answer.clear()
    with world.runtime(store) as runtime:
        agent = world.connect(runtime)
        agent.add_user_message("Hello")
        world.wait_for("RunStarted")
        assert world.asked.acquire(timeout=20)
    run_id = world.event("RunStarted").id
    world.heard.clear()
    with world.runtime(store if kept else None) as runtime:
        agent = world.connect(runtime, agent.thread_id)
        world.may_answer.set()
        assert agent.wait(timeout=20) == "idle"
    assert world.names() == ["RunCompleted", "AssistantMessageAdded", "AgentStopped"]
    assert world.event("RunCompleted").id == run_id
    assert world.answers() == ["You said: Hello"]


@pytest.mark.parametrize("kept", [True, False], ids=["with a store", "without a store"])
def test_a_run_that_waits_for_tools_is_resumed_by_the_next_process(world, kept):
    store = KeptStore()
    with world.runtime(store) as runtime:
        agent = world.connect(runtime)
        agent.add_user_message("measure")
        world.wait_for("ToolCallRequested")
    call = world.event("ToolCallRequested")
    world.heard.clear()
    with world.runtime(store if kept else None) as runtime:
        agent = world.connect(runtime, agent.thread_id)
        world.wait_for("ToolCallRequested")
        agent.submit_tool_output(call.id, 21)
        assert agent.wait(timeout=20) == "idle"
    assert [event.again for event in world.heard if type(event).__name__ == "ToolCallRequested"] == [kept]
    assert world.answers() == ["Measured 21"]
    assert {event.run_id for event in world.heard if hasattr(event, "run_id")} == {call.run_id}


def test_a_run_of_tools_is_announced_under_one_id_with_the_tokens_of_all_its_turns(world):
    with world.runtime() as runtime:
        agent = world.connect(runtime)
        agent.add_user_message("measure")
        world.wait_for("ToolCallRequested")
        call = world.event("ToolCallRequested")
        one = runtime._backend.get_run(agent.thread_id, call.run_id, handle=call.run_id, timeout=5).usage
        agent.submit_tool_output(call.id, 21)
        assert agent.wait(timeout=20) == "idle"
    assert world.event("RunStarted").id == call.run_id == world.event("RunCompleted").id
    assert world.event("RunCompleted").total_tokens > one.total_tokens > 0


def test_answers_are_published_once_and_in_order_although_the_list_lags_behind():
    world = World(item_lag=0.3)
    with world.server, world.runtime() as runtime:
        agent = world.connect(runtime)
        for number in range(4):
            agent.add_user_message(f"number {number}")
        assert agent.wait(timeout=20) == "idle"
        listed = runtime._backend.list_messages(agent.thread_id, after=None, newest_first=False, timeout=5)
    assert world.answers() == [f"You said: number {number}" for number in range(4)]
    assert len(listed.messages) < 8, "the list has caught up, so that this test shows nothing"


def test_a_conversation_that_somebody_else_has_locked_is_waited_for(world):
    with world.runtime() as runtime:
        agent = world.connect(runtime)
        world.may_answer.clear()
        body = {"model": "m", "input": "stranger", "conversation": agent.thread_id, "background": True}
        requests.post(f"{world.server.base_url}/responses", json=body, timeout=10).raise_for_status()
        agent.add_user_message("Hello")
        assert world.asked.acquire(timeout=20)
        changed = threading.Event()
        with agent._driver.waiters.added(changed):
            for _ in range(20):
                assert changed.wait(20)
                changed.clear()
        assert agent.state == "idle"
        assert world.heard == []
        world.may_answer.set()
        assert agent.wait(timeout=20) == "idle"
    assert world.names() == [
        "UserMessageAdded",
        "RunStarted",
        "RunCompleted",
        "AssistantMessageAdded",
        "AssistantMessageAdded",
        "AgentStopped",
    ]
    assert world.answers() == ["You said: stranger", "You said: Hello"]


def test_a_cancelled_run_frees_the_conversation(world):
    with world.runtime() as runtime:
        agent = world.connect(runtime)
        world.may_answer.clear()
        agent.add_user_message("Hello")
        world.wait_for("RunStarted")
        agent.cancel_run()
        assert agent.wait(timeout=20) == "failed"
        assert world.event("RunFailed").code == "cancelled"
        world.may_answer.set()
        agent.add_user_message("Again")
        assert agent.wait(timeout=20) == "idle"
    assert world.answers() == ["You said: Again"]
