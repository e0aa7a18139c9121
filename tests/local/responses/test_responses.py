"""Creating a response: the requests, and the answers."""

import threading
import time

import pytest

from gpt_agent_fsm.local import ModelError, ScriptedModel, ToolCall
from gpt_agent_fsm.local.responses import lifecycle as life
from tests.local.responses.asking import TOOL, calls_of, in_thread, outputs_for, refused, said_in
from tests.local.stand_ins import PATIENCE, Recorder, Waiting


def test_a_background_response_is_queued_and_ends_with_an_answer(api):
    response = api.ask("Hello")
    assert response["id"].startswith("resp_")
    assert (response["object"], response["status"], response["background"]) == ("response", "queued", True)
    assert (response["output"], response["usage"], response["completed_at"]) == ([], None, None)
    done = api.follow(response, "completed")
    [message] = done["output"]
    assert message.pop("id").startswith("msg_")
    part = {"type": "output_text", "text": "You said: Hello", "annotations": [], "logprobs": []}
    assert message == {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert done["completed_at"] >= done["created_at"]
    assert (done["error"], done["incomplete_details"], done["conversation"]) == (None, None, None)
    assert done["usage"] == {
        "input_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 6,
    }


def test_a_response_is_in_progress_while_its_model_thinks(serve, waiting):
    api = serve(waiting)
    response = api.ask("Hello")
    assert waiting.called.wait(PATIENCE)
    assert api.get(f"/responses/{response['id']}")["status"] == "in_progress"


def test_given_options_are_answered_with_the_defaults_of_the_rest(api):
    plain = api.post("/responses", {"model": "gpt-x", "input": "Hello"})
    assert plain["model"] == "gpt-x"
    assert {name: plain[name] for name in ("background", "store", "temperature", "top_p", "tool_choice", "tools")} == {
        "background": False,
        "store": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [],
    }
    assert {name: plain[name] for name in ("parallel_tool_calls", "truncation", "instructions", "metadata")} == {
        "parallel_tool_calls": True,
        "truncation": "disabled",
        "instructions": None,
        "metadata": {},
    }
    asked = {
        "instructions": "Be kind.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "tools": [TOOL],
        "tool_choice": "required",
        "max_output_tokens": 100,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    }
    special = api.post("/responses", {"model": "m", "input": "Hello"} | asked)
    assert {name: special[name] for name in asked} == asked


def test_a_function_gets_the_defaults_of_its_definition(api):
    [tool] = api.post("/responses", {"model": "m", "input": "x", "tools": [{"type": "function", "name": "f"}]})["tools"]
    assert tool == {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}, {"input": []}, {"conversation": None}])
def test_a_response_is_about_something(api, body):
    message = "One of 'input', 'previous_response_id' and 'conversation' must be provided."
    assert refused(api, body)["message"] == message


def test_a_conversation_and_a_previous_response_exclude_each_other(api):
    error = refused(api, {"input": "x", "conversation": "conv_x", "previous_response_id": "resp_x"})
    assert error["code"] == "mutually_exclusive_parameters"


def test_a_response_on_an_unknown_conversation_is_a_404(api):
    for named in ("conv_x", {"id": "conv_x"}):
        error = refused(api, {"input": "x", "conversation": named}, 404)
        assert error["message"] == "Conversation with id 'conv_x' not found."


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": " "}, "model", "invalid_value"),
        ({"input": 7}, "input", "invalid_type"),
        ({"input": ["x"]}, "input[0]", "invalid_type"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "name": "f", "parameters": "x"}]}, "tools[0].parameters", "invalid_type"),
        ({"tools": [{"type": "function", "name": "f", "strict": "x"}]}, "tools[0].strict", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"store": "yes"}, "store", "invalid_type"),
        ({"background": 1}, "background", "invalid_type"),
        ({"background": True, "store": False}, "background", "invalid_value"),
        ({"conversation": 7}, "conversation", "invalid_type"),
        ({"conversation": {}}, "conversation.id", "missing_required_parameter"),
        ({"previous_response_id": 7}, "previous_response_id", "invalid_type"),
        ({"max_output_tokens": "x"}, "max_output_tokens", "invalid_type"),
        ({"max_output_tokens": True}, "max_output_tokens", "invalid_type"),
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
    ],
)
def test_a_response_of_another_shape_is_refused(api, body, param, code):
    error = refused(api, {"input": "x"} | body)
    assert (error["param"], error["code"]) == (param, code), error["message"]


def test_the_input_is_listed_in_pages(api):
    said = [{"role": "user", "content": letter} for letter in "abc"]
    path = f"/responses/{api.answered(said)['id']}/input_items"
    newest = api.get(path, params={"limit": 2})
    assert (said_in(newest["data"]), newest["has_more"]) == (["c", "b"], True)
    rest = api.get(path, params={"limit": 2, "after": newest["last_id"]})
    assert (said_in(rest["data"]), rest["has_more"]) == (["a"], False)
    assert said_in(api.get(path, params={"order": "asc"})["data"]) == ["a", "b", "c"]
    assert api.error("GET", path, 400, params={"after": "msg_x"})["param"] == "after"


def test_a_synchronous_response_is_answered_when_it_has_ended(serve):
    api = serve(Recorder("Hi.", ModelError("server_error", "It broke.")))
    done = api.post("/responses", {"model": "m", "input": "Hello"})
    assert (done["status"], said_in(done["output"])) == ("completed", ["Hi."])
    assert api.get(f"/responses/{done['id']}") == done
    failed = api.post("/responses", {"model": "m", "input": "Hello"})
    assert (failed["status"], failed["error"]["message"]) == ("failed", "It broke.")


def test_a_response_that_is_not_stored_is_answered_once(serve):
    api = serve()
    conversation = api.conversation()
    done = api.post("/responses", {"model": "m", "input": "Hello", "store": False, "conversation": conversation})
    assert (done["status"], done["store"]) == ("completed", False)
    assert said_in(api.items(conversation)) == ["Hello", "You said: Hello"]
    path = f"/responses/{done['id']}"
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        assert api.error(method, path + more, 404)["message"] == f"Response with id '{done['id']}' not found."
    error = refused(api, {"input": "x", "previous_response_id": done["id"]})
    assert error["code"] == "previous_response_not_found"


def test_requests_that_wait_for_a_model_keep_no_others_from_being_answered(serve, waiting):
    api = serve(waiting)
    conversation = api.conversation()
    results = [in_thread(lambda: api.post("/responses", {"model": "m", "input": "x"})) for _ in range(12)]
    path = f"/conversations/{conversation}"
    waiters = api.server._workers._turns
    deadline = time.monotonic() + PATIENCE
    while len(waiters) < 12:
        assert time.monotonic() < deadline
    assert api.get(path)["id"] == conversation
    waiting.go.set()
    assert [result()["status"] for result in results] == ["completed"] * 12
    dispatcher = api.server._http._dispatcher
    while len(dispatcher.threads) > 8:
        assert time.monotonic() < deadline
    assert api.get(path)["id"] == conversation


def test_an_answer_that_is_longer_than_asked_for_is_cut(serve):
    api = serve(lambda request: "x" * int(request.user_message))
    whole = api.answered("63", max_output_tokens=16)
    assert (whole["usage"]["output_tokens"], whole["incomplete_details"]) == (16, None)
    conversation = api.conversation()
    cut = api.answered("64", "incomplete", max_output_tokens=16, conversation=conversation)
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (cut["usage"]["output_tokens"], cut["completed_at"], cut["error"]) == (16, None, None)
    assert (cut["output"][0]["status"], said_in(cut["output"])) == ("incomplete", ["x" * 63])
    assert api.items(conversation)[1:] == cut["output"]


def test_tool_calls_are_never_cut(serve):
    api = serve(lambda _request: [ToolCall("get", "x" * 1000)])
    done = api.answered("go", max_output_tokens=16)
    assert calls_of(done)[0]["arguments"] == "x" * 1000


def test_a_script_plays_as_in_the_assistants_api(serve):
    script = """
        rules:
          - when: busy
            steps:
              - fail: {code: rate_limit_exceeded, message: Rate limit reached., times: 2}
              - call: {name: get}
              - say: "Got {outputs}."
        """
    api = serve(ScriptedModel.from_yaml(script))
    conversation = api.conversation()
    for _ in range(2):
        api.answered("You look busy", "failed", conversation=conversation)
    waits = api.answered("You look busy", conversation=conversation)
    done = api.answered(outputs_for(waits, "7"), conversation=conversation)
    assert said_in(done["output"]) == ["Got 7."]


def test_a_response_that_cannot_be_stored_is_logged_and_leaves_nothing_of_itself(serve, monkeypatch, caplog):
    api = serve()

    def usage(*_args):
        raise OSError("the disk is full")

    conversation = api.conversation()
    with monkeypatch.context() as patch:
        patch.setattr(life.objects, "usage", usage)
        lost = api.follow(api.ask("Hello", conversation=conversation), "failed")
    assert lost["error"]["code"] == "server_error"
    assert api.items(conversation) == []
    assert f"The outcome of {lost['id']} cannot be stored" in caplog.text


def test_one_response_at_a_time_is_made_on_a_conversation(serve):
    api = serve(Waiting())
    conversation = api.conversation()
    barrier = threading.Barrier(8)
    statuses = []

    def ask():
        barrier.wait(PATIENCE)
        body = {"model": "m", "input": "x", "background": True, "conversation": conversation}
        url = f"{api.server.base_url}/responses"
        statuses.append(api.session.post(url, json=body, timeout=PATIENCE).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(statuses) == [200] + [400] * 7
