"""Functions of an assistant reach the model over both APIs."""

from typing import Literal

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, Runtime, Settings, tool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer


def measure(city: str, unit: Literal["c", "f"] = "c"):
    """Return how warm it is."""


@tool(strict=True)
def count(limit: int = 3): ...


SAM = Assistant("gpt-4o", tools=[measure, count, FunctionTool("by_hand")], name="Sam")
MEASURE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"], "default": "c"}},
    "required": ["city"],
    "additionalProperties": False,
}
COUNT = {
    "type": "object",
    "properties": {"limit": {"type": ["integer", "null"]}},
    "required": ["limit"],
    "additionalProperties": False,
}


def on_threads(base_url):
    backend = AssistantsBackend(base_url, "key")
    return backend, backend.publish(SAM)


def on_responses(base_url):
    return ResponsesBackend(base_url, "key", assistants={"sam": SAM}), "sam"


@pytest.mark.parametrize("make", [on_threads, on_responses])
def test_the_model_sees_the_functions_of_an_assistant(make):
    seen = []

    def model(request):
        seen.append([tool["function"] for tool in request.tools])
        return "Done"

    with LocalServer(model) as server:
        backend, assistant_id = make(server.base_url)
        with Runtime(backend, Settings(heartbeat_interval=0.01)) as runtime:
            thread_id = runtime.create_thread()
            agent = runtime.connect(thread_id=thread_id, assistant_id=assistant_id, last_message_id=None)
            agent.add_user_message("Hello")
            assert agent.wait(timeout=20) == "idle"
    [[warm, counted, by_hand]] = seen
    assert (warm["name"], warm["description"], warm["parameters"]) == ("measure", "Return how warm it is.", MEASURE)
    assert (warm["strict"], counted["strict"], counted["parameters"]) == (False, True, COUNT)
    assert by_hand["name"] == "by_hand"
