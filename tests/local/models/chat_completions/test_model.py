"""Making a model, and one behind the embedded server."""

import json
import threading

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
    LocalServer,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    PATIENCE,
    Answer,
    call,
    say,
)
from tests.local.conftest import Client
from tests.local.models.chat_completions.questions import KEY, request


def test_a_run_of_the_embedded_server_calls_its_tools_through_it(serve):
    upstream, model = serve(call({"name": "add", "arguments": '{"a": 1}'}), say("It is 3."), model="llama3")
    add = {"type": "function", "function": {"name": "add"}}

    def answered(asked):
        reply = model(asked)
        return list(reply.calls) or reply.text

    with LocalServer(answered) as server:
        client = Client(server)
        thread = client.thread("What is 1 and 2?")
        run = client.see(client.run(thread, tools=[add], instructions="Be brief."), "requires_action")
        client.see(client.submit(run, "3"), "completed")
        assert client.texts(thread) == ["What is 1 and 2?", "It is 3."]
        client.session.close()
    first, second = (asked.body for asked in upstream.requests)
    system, said = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 and 2?"}
    assert first == {"model": "llama3", "messages": [system, said], "tools": [add], "stream": False}
    assert second["messages"][:2] == [system, said]
    assistant, tool = second["messages"][2:]
    (made,) = assistant["tool_calls"]
    assert (made["type"], made["function"]) == ("function", {"name": "add", "arguments": '{"a": 1}'})
    assert tool == {"role": "tool", "tool_call_id": made["id"], "content": "3"}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {"base_url": "http://localhost/v1/chat/completions/"},
            "the part of the address before /chat/completions",
        ),
        ({"base_url": "localhost:8080"}, "base_url must look like"),
        ({"api_key": "sk \n"}, "api_key must be printable ASCII"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"timeout": float("inf")}, "and at most a day"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"headers": {"X": "\n"}}, "The header 'X' must be printable"),
    ],
)
def test_invalid_arguments_are_refused_in_a_sentence(kwargs, words):
    with pytest.raises(ValueError, match=words) as caught:
        ChatCompletionsModel(**({"base_url": "http://localhost/v1"} | kwargs))
    assert "OPENAI" not in str(caught.value)


def test_the_repr_shows_the_address_and_not_the_key():
    model = ChatCompletionsModel("http://localhost:11434/v1/", "llama3", KEY)
    assert repr(model) == "ChatCompletionsModel(base_url='http://localhost:11434/v1', model='llama3')"


def test_a_closed_model_connects_again(serve):
    server, model = serve(say("1"), say("2"))
    model(request())
    model.close()
    model.close()
    assert model(request()).text == "2"
    assert server.connections == 2


def test_one_model_serves_many_os_threads_with_a_connection_each(serve):
    together = threading.Barrier(4)
    answers = [
        Answer(200, {"Content-Type": "application/json"}, [lambda: together.wait(PATIENCE), say(str(number)).body])
        for number in range(4)
    ]
    server, model = serve(*answers)
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(model(request()).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(texts) == ["0", "1", "2", "3"]
    assert server.connections == 4


def test_a_body_is_json_that_any_server_reads(serve):
    server, model = serve(say("Hi."))
    model(request([{"role": "user", "content": 'a "quote"\n\x00'}]))
    assert json.dumps(server.requests[0].body["messages"][0]["content"]) == '"a \\"quote\\"\\n\\u0000"'
    assert server.requests[0].headers["Content-Type"] == "application/json"
