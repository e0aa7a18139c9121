"""The requests to a server that speaks chat completions."""

from gpt_agent_fsm.local import (
    Reply,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    fail,
    say,
)
from tests.local.models.chat_completions.questions import HELLO, KEY, failure, request, streamed, whole


def test_the_conversation_is_sent_as_it_is_behind_the_instructions(serve):
    history = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
    ]
    server, model = serve(say("Hi."))
    assert model(request(history, instructions="Be kind.", model="llama3")) == Reply("Hi.")
    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "llama3",
        "messages": [{"role": "system", "content": "Be kind."}, *history],
        "stream": False,
    }


def test_without_instructions_there_is_no_system_message(serve):
    server, model = serve(say("Hi."))
    model(request())
    assert server.requests[0].body["messages"] == HELLO


def test_the_models_own_name_replaces_the_one_of_the_run(serve):
    server, model = serve(say("Hi."), model="llama3")
    model(request(model="gpt-4"))
    assert server.requests[0].body["model"] == "llama3"


def test_functions_are_sent_as_they_are_and_other_tools_are_left_out(serve):
    function = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    server, model = serve(say("Hi."), say("Hi."))
    model(request(tools=[{"type": "file_search"}, function]))
    model(request(tools=[{"type": "code_interpreter"}]))
    assert server.requests[0].body["tools"] == [function]
    assert "tools" not in server.requests[1].body


def test_options_are_added_to_the_body_but_replace_nothing(serve, ask):
    server, model = serve(say("Hi."), options={"temperature": 0, "messages": [], "stream": 7})
    ask(model, request())
    body = server.requests[0].body
    assert (body["temperature"], body["messages"], body["stream"]) == (0, HELLO, ask is streamed)


def test_headers_and_params_are_added_to_each_request(serve):
    server, model = serve(say("Hi."), headers={"X-Title": "Test"}, params={"api-version": "2"})
    model(request())
    assert server.requests[0].path == "/v1/chat/completions?api-version=2"
    assert server.requests[0].headers["X-Title"] == "Test"
    assert server.requests[0].headers["Accept"] == "application/json, text/event-stream"


def test_the_key_is_sent_as_bearer_token(serve):
    server, model = serve(say("Hi."), api_key=KEY)
    model(request())
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_key_in_the_environment_belongs_to_another_service_and_is_not_sent(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server, model = serve(say("Hi."))
    model(request())
    assert "Authorization" not in server.requests[0].headers
    assert KEY not in str(server.requests)


def test_an_unpaired_surrogate_is_sent_as_a_question_mark(serve):
    server, model = serve(say("Hi."))
    model(request([{"role": "user", "content": "é \ud800"}]))
    assert server.requests[0].body["messages"][0]["content"] == "é ?"


def test_answers_that_come_in_one_piece_share_a_connection(serve):
    server, model = serve(say("1"), fail(400, "No."), say("2"))
    model(request())
    failure(whole, model)
    assert model(request()).text == "2"
    assert server.connections == 1
