"""Every request that a backend makes, held against OpenAI's own schemas; see tests/openapi/README.md."""

import functools
import json
import re
from pathlib import Path

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, Runtime, Settings
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.http import HttpClient
from gpt_agent_fsm.local import LocalServer, ModelError, ToolCall

jsonschema = pytest.importorskip("jsonschema")

DOCUMENT = json.loads((Path(__file__).parents[1] / "openapi" / "requests.json").read_text(encoding="utf-8"))
MEASURE = FunctionTool("measure", "Measures", {"type": "object", "properties": {"x": {"type": "number"}}})


SAM = Assistant("gpt-4o", "Be brief.", [MEASURE], name="Sam", temperature=0.5, top_p=0.9)


SCHEMAS = [
    (r"/conversations", "CreateConversationBody"),
    (r"/conversations/[^/]+", "UpdateConversationBody"),
    (r"/conversations/[^/]+/items", "CreateConversationItemsBody"),
    (r"/responses", "CreateResponse"),
    (r"/threads", "CreateThreadRequest"),
    (r"/threads/[^/]+/messages", "CreateMessageRequest"),
    (r"/threads/[^/]+/runs", "CreateRunRequest"),
    (r"/threads/[^/]+/runs/[^/]+/submit_tool_outputs", "SubmitToolOutputsRunRequest"),
    (r"/assistants", "CreateAssistantRequest"),
    (r"/assistants/[^/]+", "ModifyAssistantRequest"),
    (r".*/cancel", None),
]


@functools.cache
def validator(name):
    return jsonschema.Draft202012Validator(DOCUMENT | {"$ref": f"#/components/schemas/{name}"})


def schema_of(path):
    return next(name for pattern, name in SCHEMAS if re.fullmatch(pattern, path))


@pytest.fixture
def sent(monkeypatch):
    """The posted bodies, as pairs of schema and body."""
    posted = []
    send = HttpClient._send

    def record(self, prepared, path, limits):
        if prepared.method == "POST":
            posted.append((schema_of(path), json.loads(prepared.body)))
        return send(self, prepared, path, limits)

    monkeypatch.setattr(HttpClient, "_send", record)
    return posted


def model(request):
    if request.user_message == "fail once" and request.attempt == 1 and request.outputs:
        raise ModelError("rate_limit_exceeded", "Rate limit reached")
    if request.user_message == "wait":
        request.cancelled.wait(20)
    return "Done" if request.outputs else [ToolCall("measure", {"x": 1}), ToolCall("measure", {"x": 2})]


def hold_a_conversation(backend):
    """Tools, a rate limit in the middle, a cancelled wait for tools, and another message after it."""
    settings = Settings(heartbeat_interval=0.01, rate_limit_retry_delay=0.01)
    asked, cancelling = [], []

    def hear(agent, event):
        if type(event).__name__ == "ToolCallRequested":
            if cancelling:
                agent.cancel_run()
            else:
                agent.submit_tool_output(event.id, {"celsius": 21})
            asked.append(event)

    with Runtime(backend, settings) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None, subscribe=hear
        )
        agent.add_user_message("fail once")
        assert agent.wait(timeout=20) == "idle"
        cancelling.append(True)
        agent.add_user_message("tools")
        assert agent.wait(timeout=20) == "failed"
        cancelling.clear()
        agent.add_user_message("tools")
        assert agent.wait(timeout=20) == "idle"
    assert len(asked) >= 6


def check(sent, expected):
    assert {name for name, _ in sent if name} == expected
    for name, body in sent:
        if name is not None:
            assert [f"{e.json_path}: {e.message[:300]}" for e in validator(name).iter_errors(body)] == [], body


def test_every_body_that_goes_to_conversations_and_responses_fits_its_schema(sent):
    with LocalServer(model) as server:
        hold_a_conversation(ResponsesBackend(server.base_url, assistants={"asst_1": SAM}))
    check(
        sent,
        {"CreateConversationBody", "UpdateConversationBody", "CreateConversationItemsBody", "CreateResponse"},
    )


def test_every_body_that_goes_to_threads_and_runs_fits_its_schema(sent):
    with LocalServer(model) as server:
        backend = AssistantsBackend(server.base_url)
        assert backend.publish(SAM) == backend.publish(SAM)
        hold_a_conversation(backend)
    check(
        [(name, body) for name, body in sent if name != "SubmitToolOutputsRunRequest"],
        {
            "CreateThreadRequest",
            "CreateMessageRequest",
            "CreateRunRequest",
            "CreateAssistantRequest",
            "ModifyAssistantRequest",
        },
    )
    outputs = [body for name, body in sent if name == "SubmitToolOutputsRunRequest"]
    assert outputs
    assert all(validator("SubmitToolOutputsRunRequest").is_valid(body) for body in outputs)
    assert not validator("SubmitToolOutputsRunRequest").is_valid({})


def test_the_schemas_are_schemas_and_refuse_other_objects():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert not validator("CreateResponse").is_valid({"model": "m", "input": 5})
    assert not validator("CreateConversationItemsBody").is_valid({"items": [{"type": "nothing"}]})
