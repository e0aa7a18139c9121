"""Tokens that run out in the middle of conversations, against the embedded server."""

import itertools

import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, events
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from tests.tokens import ShortTokens

CONVERSATIONS = 50
SETTINGS = Settings(heartbeat_interval=0.05, tool_output_retry_delay=0.05)
CALL = ToolCall("get_weather", {"city": "Oslo"})


def weather_man(request):
    if "warm" not in request.user_message:
        return f"You said: {request.user_message}"
    return request.outputs[0] if request.outputs else [CALL]


def make_backend(api, base_url, auth):
    if api == "assistants":
        return AssistantsBackend(base_url, auth=auth)
    return ResponsesBackend(base_url, auth=auth, assistants={"asst_1": Assistant("gpt-4o")})


@pytest.mark.parametrize("api", ["assistants", "responses"])
def test_tokens_that_run_out_during_many_conversations_cost_no_message_and_no_run(api):
    tokens, heard, created = ShortTokens(requests_per_token=25), [], []

    def hear(agent, event):
        heard.append(event)
        if isinstance(event, events.ToolCallRequested):
            agent.submit_tool_output(event.id, 21)

    def on_request(request):
        if request.method == "POST" and request.status == 200 and request.path.endswith(("/runs", "/responses")):
            created.append(request)

    with (
        LocalServer(weather_man, api_key=tokens.accepts, on_request=on_request) as server,
        Runtime(make_backend(api, server.base_url, tokens.issue), SETTINGS) as runtime,
    ):
        agents = [runtime.start("asst_1", subscribe=hear) for _ in range(CONVERSATIONS)]
        for agent, text in itertools.product(agents, ("Hello", "How warm is it?")):
            agent.add_user_message(text)
        assert {agent.wait(timeout=120) for agent in agents} == {"idle"}
    assert tokens.refused >= 5
    assert [event for event in heard if isinstance(event, events.RequestFailed | events.RunFailed)] == []
    answers = [(e.thread_id, e.content) for e in heard if isinstance(e, events.AssistantMessageAdded)]
    expected = itertools.product((agent.thread_id for agent in agents), ("You said: Hello", "21"))
    assert sorted(answers) == sorted(expected)
    # Over responses, the outputs of a run's tool calls are one more response.
    assert len(created) == CONVERSATIONS * (2 if api == "assistants" else 3)


@pytest.mark.parametrize("api", ["assistants", "responses"])
def test_an_auth_that_fails_during_a_conversation_loses_neither_messages_nor_outputs(api):
    is_open, heard = [False], []

    def auth():
        if not is_open[0]:
            raise LookupError("the vault is closed")
        return "the-token"

    def hear(agent, event):
        heard.append(event)
        if isinstance(event, events.ToolCallRequested):
            is_open[0] = False
            agent.submit_tool_output(event.id, 21)

    with (
        LocalServer(weather_man, api_key="the-token") as server,
        Runtime(make_backend(api, server.base_url, auth), SETTINGS) as runtime,
    ):
        is_open[0] = True
        agent = runtime.start("asst_1", subscribe=hear)
        is_open[0] = False
        agent.add_user_message("How warm is it?")
        assert agent.wait(timeout=60) == "failed"
        is_open[0] = True
        agent.add_user_message("Hello")
        assert agent.wait(timeout=60) == "failed"
        is_open[0] = True
        agent.add_user_message("Goodbye")
        assert agent.wait(timeout=60) == "idle"
    failures = [(e.operation, e.message) for e in heard if isinstance(e, events.RequestFailed)]
    sentence = "auth raised LookupError, so the request was not sent."
    assert failures == [("post_message", sentence), ("submit_tool_outputs", sentence)]
    answers = [event.content for event in heard if isinstance(event, events.AssistantMessageAdded)]
    assert answers == ["21", "You said: Hello", "You said: Goodbye"]
