"""Known shapes of upstream answers, behind both APIs of the embedded server, streamed and not."""

import pytest

from gpt_agent_fsm.local import ChatCompletionsModel, LocalServer
from tests.local.chat_server import Answer, ChatServer
from tests.local.conftest import Client
from tests.local.event_streams import deltas, response_stream, run_stream
from tests.local.models.chat_completions.shape_builders import TOOLS
from tests.local.models.chat_completions.shapes import CALLS, ERRORS, SHAPES, TEXTS
from tests.local.models.chat_completions.test_shapes import name_of
from tests.local.stand_ins import PATIENCE

FLAT_TOOLS = [{"type": "function"} | tool["function"] for tool in TOOLS]
ENDED = ("completed", "incomplete", "failed", "requires_action")


class Repeating(ChatServer):
    """Answers every request with the shape that is due."""

    due = SHAPES[0]

    def next_answer(self, asked):
        return Answer(headers={"Content-Type": self.due.content_type}, body=[self.due.sent])


@pytest.fixture(scope="module")
def behind():
    """One server for all shapes, and the upstream server that it asks."""
    with Repeating() as upstream:
        model = ChatCompletionsModel(upstream.base_url, "m", timeout=PATIENCE)
        with LocalServer(model) as server:
            client = Client(server)
            yield client, upstream
            client.session.close()
        model.close()


def response_ends_as(shape, response):
    if isinstance(shape.right, str):
        assert response["status"] == "failed"
        assert shape.right in response["error"]["message"]
        return
    assert response["status"] == ("incomplete" if shape.right.incomplete else "completed")
    said = [part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]]
    made = [(item["name"], item["arguments"]) for item in response["output"] if item["type"] == "function_call"]
    assert "".join(said) == shape.right.text
    assert made == [(call.name, call.arguments) for call in shape.right.calls]


def run_ends_as(api, shape, run):
    if isinstance(shape.right, str):
        assert run["status"] == "failed"
        assert shape.right in run["last_error"]["message"]
    elif shape.right.calls:
        asked = [call["function"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
        assert [(call["name"], call["arguments"]) for call in asked] == [
            (call.name, call.arguments) for call in shape.right.calls
        ]
    else:
        assert run["status"] == ("incomplete" if shape.right.incomplete else "completed")
        assert api.texts(run["thread_id"])[-1] == shape.right.text


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_a_response_has_the_right_answer(behind, shape):
    api, upstream = behind
    upstream.due = shape
    response_ends_as(shape, api.post("/responses", {"model": "m", "input": "Hi", "tools": FLAT_TOOLS}))
    events = list(response_stream(api, "Hi", tools=FLAT_TOOLS))
    response_ends_as(shape, events[-1][1]["response"])
    if not isinstance(shape.right, str):
        assert "".join(deltas(events)) == shape.right.text


@pytest.mark.parametrize("shape", [*TEXTS[::3], *CALLS[::3], *ERRORS[::3]], ids=name_of)
def test_a_run_has_the_right_answer(behind, shape):
    api, upstream = behind
    upstream.due = shape
    run_ends_as(api, shape, api.see(api.run(api.thread("Hi"), tools=TOOLS), *ENDED))
    events = [data for name, data in run_stream(api, "Hi", tools=TOOLS) if name.startswith("thread.run.")]
    run_ends_as(api, shape, api.see([run for run in events if run["object"] == "thread.run"][-1], *ENDED))
