"""The requests to a server that speaks chat completions."""

import json

import attrs
import pytest

from gpt_agent_fsm.local import (
    Reply,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    answer,
    event,
    fail,
    say,
    stream,
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


def refusals_of(name):
    """Return the ways in which servers are known to refuse an option."""
    error = {"message": f"Unsupported parameter: '{name}'.", "code": 400}
    words = name.replace("_", " ")
    return [
        fail(500, f"Unknown option {name}."),
        fail(501, f"{name} is not implemented."),
        fail(400, f"The {words} are not supported."),
        fail(400, f"{words.title().replace(' ', '')} is not supported."),
        answer({"error": error}),
        stream(event({"error": error}), finish=None),
        answer({"errors": [{"message": "Extra field.", "path": name}]}, 400),
        answer(json.dumps(f"Unsupported: {name}").encode(), 422),
    ]


@pytest.mark.parametrize("refusal", refusals_of("max_tokens"))
def test_a_limit_is_tried_under_its_other_name_however_the_first_one_is_refused(serve, ask, refusal):
    server, model = serve(refusal, say("Hi."), say("Hi."))
    asked = attrs.evolve(request(), max_tokens=300)
    assert [ask(model, asked).text for _ in range(2)] == ["Hi.", "Hi."]
    limits = [(sent.body.get("max_tokens"), sent.body.get("max_completion_tokens")) for sent in server.requests]
    assert limits == [(300, None), (None, 300), (None, 300)]


@pytest.mark.parametrize("refusal", refusals_of("stream_options"))
def test_an_option_that_nobody_asked_for_is_left_out_however_it_is_refused(serve, refusal):
    server, model = serve(refusal, stream("Hi."), stream("Hi."))
    assert [streamed(model, request()).text for _ in range(2)] == ["Hi.", "Hi."]
    assert ["stream_options" in sent.body for sent in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    "refusal", [fail(402, "More credits, or fewer max_tokens, are needed."), fail(429, "Reduce max_tokens.")]
)
def test_a_bill_or_a_rate_limit_that_names_the_limit_is_no_refusal_of_its_name(serve, ask, refusal):
    server, model = serve(refusal, say("Hi."))
    assert failure(ask, model, attrs.evolve(request(), max_tokens=300)).code == "rate_limit_exceeded"
    assert len(server.requests) == 1


def test_an_error_after_the_first_piece_is_no_refusal(serve):
    error = event({"error": {"message": "max_tokens reached", "code": 400}})
    server, model = serve(stream("Once", error, finish=None), say("Hi."))
    assert failure(streamed, model, attrs.evolve(request(), max_tokens=300)).message == "max_tokens reached"
    assert len(server.requests) == 1
