"""The life of a response, as a client sees it."""

import threading
import time

import pytest
import requests

from gpt_agent_fsm.local import ModelError, ModelRequest, ScriptedModel, ToolCall
from gpt_agent_fsm.local.responses import lifecycle as life
from gpt_agent_fsm.local.shared import workers
from tests.local.stand_ins import PATIENCE, Recorder, Waiting

HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "name": "get", "description": "Gets.", "parameters": {"type": "object"}, "strict": False}


def calls_of(response):
    return [item for item in response["output"] if item["type"] == "function_call"]


def outputs_for(response, *values):
    return [
        {"type": "function_call_output", "call_id": call["call_id"], "output": value}
        for call, value in zip(calls_of(response), values, strict=True)
    ]


def said_in(items):
    return [item["content"][0]["text"] for item in items if item["type"] == "message"]


def refused(api, body, status=400):
    return api.error("POST", "/responses", status, json={"model": "m"} | body)


def in_thread(action):
    """Begin to do something that blocks, and return how to wait for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(action()))
    thread.start()

    def result():
        thread.join(PATIENCE)
        assert results
        return results[0]

    return result


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


def test_what_was_asked_for_is_answered_with_the_defaults_of_the_rest(api):
    plain = api.post("/responses", {"model": "gpt-x", "input": "Hello"})
    assert plain["model"] == "gpt-x"
    assert {name: plain[name] for name in ("background", "store", "temperature", "top_p", "tool_choice", "tools")} == {
        "background": False,
        "store": True,
        "temperature": 1.0,
        "top_p": 1.0,
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


def test_the_model_is_asked_as_on_the_other_wire(serve):
    model = Recorder("Hi.", "Bye.")
    api = serve(model)
    conversation = api.conversation({"role": "system", "content": "Be kind."})
    options = {"conversation": conversation, "model": "gpt-x"}
    api.answered("Hello", tools=[TOOL], instructions="Be brief.", **options)
    nested = [{"type": "function", "function": {name: TOOL[name] for name in TOOL if name != "type"}}]
    assert model.requests[0] == ModelRequest("Be brief.\nBe kind.", [HELLO], nested, "gpt-x")
    api.answered([{"role": "developer", "content": "No jokes."}, {"role": "user", "content": "Go away"}], **options)
    said = [HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Go away"}]
    assert model.requests[1] == ModelRequest("Be kind.\nNo jokes.", said, [], "gpt-x")


def test_a_model_reads_the_text_of_all_parts_and_leaves_the_others_out(serve):
    model = Recorder("Hi.")
    api = serve(model)
    parts = [
        {"type": "input_text", "text": "one"},
        {"type": "input_image", "image_url": "http://x/y"},
        {"type": "input_text", "text": "two"},
    ]
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    api.answered([refusal, {"role": "user", "content": parts}])
    assert [message["content"] for message in model.requests[0].messages] == ["No.", "one\ntwo"]


def test_a_function_gets_the_defaults_of_its_definition(api):
    [tool] = api.post("/responses", {"model": "m", "input": "x", "tools": [{"type": "function", "name": "f"}]})["tools"]
    assert tool == {"type": "function", "name": "f", "description": None, "parameters": None, "strict": True}


def test_tools_are_called_and_their_outputs_reach_the_model(serve):
    model = Recorder([ToolCall("get", {"city": "Oslo"}), ToolCall("get", "{odd")], [ToolCall("put")], "Done.")
    api = serve(model)
    conversation = api.conversation()
    first = api.answered("Weather?", conversation=conversation)
    calls = calls_of(first)
    assert [(call["name"], call["arguments"], call["status"]) for call in calls] == [
        ("get", '{"city":"Oslo"}', "completed"),
        ("get", "{odd", "completed"),
    ]
    assert all(call["id"].startswith("fc_") and call["call_id"].startswith("call_") for call in calls)
    assert len({call["call_id"] for call in calls}) == 2
    parts = [{"type": "input_text", "text": text} for text in ("1", "3")]
    second = api.answered(outputs_for(first, "12", parts), conversation=conversation)
    third = api.answered(outputs_for(second, "ok"), conversation=conversation)
    assert said_in(third["output"]) == ["Done."]
    messages = model.requests[2].messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    assert messages[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": call["call_id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls
        ],
    }
    assert messages[2:4] == [
        {"role": "tool", "tool_call_id": calls[0]["call_id"], "content": "12"},
        {"role": "tool", "tool_call_id": calls[1]["call_id"], "content": "1\n3"},
    ]
    assert model.requests[2].outputs == ["12", "1\n3", "ok"]


def test_the_tool_calls_ahead_of_the_users_last_message_are_not_repeated_to_the_model(serve):
    model = Recorder([ToolCall("get")], "Done.", "Again.")
    api = serve(model)
    conversation = api.conversation()
    first = api.answered("one", conversation=conversation)
    api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("two", conversation=conversation)
    assert [message["content"] for message in model.requests[2].messages] == ["one", "Done.", "two"]


def test_input_and_output_are_added_to_the_conversation_with_the_same_ids(serve):
    api = serve(Recorder([ToolCall("get")], "Done."))
    conversation = api.conversation({"role": "user", "content": "first"})
    one = api.answered([{"role": "user", "content": "second"}], conversation={"id": conversation})
    assert one["conversation"] == {"id": conversation}
    two = api.answered(outputs_for(one, "7"), conversation=conversation)
    items = api.items(conversation)
    assert said_in(items) == ["first", "second", "Done."]
    assert [item["type"] for item in items][2:4] == ["function_call", "function_call_output"]
    asked = [api.get(f"/responses/{each['id']}/input_items")["data"] for each in (one, two)]
    assert items[1:] == [*asked[0], *one["output"], *asked[1], *two["output"]]


def test_a_conversation_may_hold_the_question_already(serve):
    api = serve()
    conversation = api.conversation(HELLO)
    response = api.answered(conversation=conversation)
    assert said_in(response["output"]) == ["You said: Hello"]
    assert api.get(f"/responses/{response['id']}/input_items")["data"] == []


def test_a_failed_response_tells_why_and_leaves_nothing_in_its_conversation(serve):
    api = serve(Recorder(ModelError("rate_limit_exceeded", "Slow down."), RuntimeError("secret"), "Fine."))
    conversation = api.conversation()
    failed = api.answered("Hello", "failed", conversation=conversation)
    assert failed["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert (failed["output"], failed["completed_at"], failed["usage"]) == ([], None, None)
    broken = api.answered("Hello", "failed", conversation=conversation)
    assert broken["error"] == {"code": "server_error", "message": "The model raised RuntimeError."}
    assert api.items(conversation) == []
    api.answered("Hello", conversation=conversation)
    assert said_in(api.items(conversation)) == ["Hello", "Fine."]


def test_items_are_listed_some_time_after_their_response_was_completed_but_count_at_once(serve):
    model = Recorder("Hi.", "Bye.")
    api = serve(model, item_lag=3600)
    conversation = api.conversation({"role": "user", "content": "zero"})
    response = api.answered("one", conversation=conversation)
    assert said_in(api.items(conversation)) == ["zero"]
    api.post(f"/conversations/{conversation}/items", {"items": [{"role": "user", "content": "two"}]})
    assert said_in(api.items(conversation)) == ["zero", "two"]
    api.answered(conversation=conversation)
    assert [message["content"] for message in model.requests[1].messages] == ["zero", "one", "Hi.", "two"]
    item = response["output"][0]
    assert api.get(f"/conversations/{conversation}/items/{item['id']}") == item


def test_items_become_visible_together_when_the_lag_is_over(serve):
    api = serve(item_lag=0.3)
    conversation = api.conversation()
    api.answered("one", conversation=conversation)
    deadline = time.monotonic() + PATIENCE
    while not (seen := said_in(api.items(conversation))):
        assert time.monotonic() < deadline
    assert seen == ["one", "You said: one"]


def test_a_chain_of_responses_has_the_inputs_and_outputs_for_context(serve):
    model = Recorder([ToolCall("get")], "Done.", "Bye.")
    api = serve(model)
    first = api.answered("one", instructions="Be kind.")
    second = api.answered(outputs_for(first, "1"), previous_response_id=first["id"])
    third = api.answered("two", previous_response_id=second["id"], instructions="Be brief.")
    assert third["previous_response_id"] == second["id"]
    assert [request.instructions for request in model.requests] == ["Be kind.", "", "Be brief."]
    assert model.requests[1].outputs == ["1"]
    assert [message["content"] for message in model.requests[2].messages] == ["one", "Done.", "two"]


def test_a_chain_may_go_on_without_input_and_branch(serve):
    model = Recorder("a", "b", "c")
    api = serve(model)
    first = api.answered("one")
    api.answered(previous_response_id=first["id"])
    api.answered("two", previous_response_id=first["id"])
    said = [[message["content"] for message in request.messages] for request in model.requests]
    assert said == [["one"], ["one", "a"], ["one", "a", "two"]]


def test_a_chain_may_leave_a_conversation_and_knows_what_was_said_there_before(serve):
    model = Recorder([ToolCall("get")], "Done.", "More.", "Bye.")
    api = serve(model)
    conversation = api.conversation({"role": "user", "content": "zero"})
    first = api.answered("one", conversation=conversation)
    second = api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("two", conversation=conversation)
    api.answered("three", previous_response_id=second["id"])
    assert [message["content"] for message in model.requests[3].messages] == ["zero", "one", "Done.", "three"]
    assert len(api.items(conversation)) == 7


def test_a_chain_begins_after_the_response_that_was_deleted(serve):
    model = Recorder("a", "b", "c")
    api = serve(model)
    first = api.answered("one")
    second = api.answered("two", previous_response_id=first["id"])
    api.delete(f"/responses/{first['id']}")
    api.answered("three", previous_response_id=second["id"])
    assert [message["content"] for message in model.requests[2].messages] == ["two", "b", "three"]


def test_only_a_response_that_is_there_and_has_ended_is_a_previous_one(serve, waiting):
    api = serve(waiting)
    error = refused(api, {"input": "x", "previous_response_id": "resp_x"})
    assert error["message"] == "Previous response with id 'resp_x' not found."
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
    under_way = api.ask("Hello")
    error = refused(api, {"input": "x", "previous_response_id": under_way["id"]})
    assert (error["param"], "has not ended" in error["message"]) == ("previous_response_id", True)


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}, {"input": []}, {"conversation": None}])
def test_a_response_is_about_something(api, body):
    message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
    assert refused(api, body)["message"] == message


def test_a_conversation_and_a_previous_response_exclude_each_other(api):
    error = refused(api, {"input": "x", "conversation": "conv_x", "previous_response_id": "resp_x"})
    assert error["code"] == "mutually_exclusive_parameters"


def test_a_response_on_a_conversation_nobody_made_is_a_404(api):
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


def test_every_call_needs_an_output_before_the_model_is_asked_again(serve):
    model = Recorder([ToolCall("a"), ToolCall("b")], "Done.")
    api = serve(model)
    conversation = api.conversation()
    first = api.answered("go", conversation=conversation)
    calls = [call["call_id"] for call in calls_of(first)]
    given = outputs_for(first, "1", "2")
    for context in ({"conversation": conversation}, {"previous_response_id": first["id"]}):
        error = refused(api, context | {"input": given[1:]})
        assert (error["message"], error["param"]) == (
            f"No tool output found for function call {calls[0]}.",
            "input",
        )
        assert refused(api, context | {"input": "Never mind."})["param"] == "input"
    assert len(api.items(conversation)) == 3
    api.post(f"/conversations/{conversation}/items", {"items": given[:1]})
    api.answered(given[1:], conversation=conversation)
    assert model.requests[1].outputs == ["1", "2"]


def test_every_output_needs_its_call_ahead_of_it(api):
    call = {"type": "function_call", "call_id": "call_x", "name": "a", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    message = "No tool call found for function call output with call_id call_x."
    for given in ([output], [output, call]):
        error = refused(api, {"input": given})
        assert (error["message"], error["param"]) == (message, "input")
    assert api.answered([call, output])["status"] == "completed"


def test_a_call_has_one_output(serve):
    api = serve(Recorder([ToolCall("a")], "Done."))
    conversation = api.conversation()
    first = api.answered("go", conversation=conversation)
    given = outputs_for(first, "1")
    message = f"Duplicate tool output found for function call {calls_of(first)[0]['call_id']}."
    error = refused(api, {"conversation": conversation, "input": given * 2})
    assert (error["message"], error["param"]) == (message, "input")
    api.answered(given, conversation=conversation)
    assert refused(api, {"conversation": conversation, "input": given})["message"] == message


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


def test_a_background_response_is_cancelled_at_once_and_what_its_model_says_is_thrown_away(serve, waiting):
    api = serve(waiting)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    path = f"/responses/{response['id']}"
    assert waiting.called.wait(PATIENCE)
    cancelled = api.post(f"{path}/cancel")
    assert (cancelled["id"], cancelled["status"], cancelled["output"]) == (response["id"], "cancelled", [])
    assert api.post(f"{path}/cancel") == cancelled
    waiting.go.set()
    deadline = time.monotonic() + PATIENCE
    while api.server._workers._asking:
        assert time.monotonic() < deadline
    assert api.get(path) == cancelled
    assert api.items(conversation) == []
    api.answered("Again", conversation=conversation)
    assert said_in(api.items(conversation)) == ["Again", "too late"]


def test_an_answer_that_comes_before_its_model_is_told_of_the_cancel_is_thrown_away(serve, waiting, monkeypatch):
    api = serve(waiting)
    monkeypatch.setattr(api.server._workers, "interrupt", lambda _work_id: None)
    response = api.ask("Hello")
    assert waiting.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    waiting.go.set()
    deadline = time.monotonic() + PATIENCE
    while api.server._workers._asking:
        assert time.monotonic() < deadline
    assert api.get(f"/responses/{response['id']}")["output"] == []


def test_a_queued_response_is_cancelled_before_its_model_is_asked(serve):
    asked = []
    go = threading.Event()
    api = serve(lambda request: (asked.append(request.user_message), str(go.wait(PATIENCE)))[1])
    for _ in range(16):
        api.ask("Hello")
    last = api.ask("last")
    assert api.post(f"/responses/{last['id']}/cancel")["status"] == "cancelled"
    go.set()
    api.answered("Hello")
    assert asked == ["Hello"] * 17
    assert api.get(f"/responses/{last['id']}")["status"] == "cancelled"


def test_a_cancelled_model_is_told(serve):
    model = Waiting()
    api = serve(model)
    response = api.ask("Hello")
    assert model.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    assert model.returned.wait(PATIENCE)


def test_what_has_ended_and_what_is_waited_for_cannot_be_cancelled(serve):
    api = serve(Recorder("Hi.", ModelError("server_error", "x"), "Hi."))
    for status in ("completed", "failed"):
        response = api.answered("Hello", status)
        error = api.error("POST", f"/responses/{response['id']}/cancel", 400)
        assert error["message"] == "Cannot cancel a completed response."
    synchronous = api.post("/responses", {"model": "m", "input": "Hello"})
    error = api.error("POST", f"/responses/{synchronous['id']}/cancel", 400)
    assert error["message"] == "Cannot cancel a synchronous response."


@pytest.mark.parametrize(
    ("method", "more"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
def test_a_response_nobody_made_is_a_404_that_names_it(api, method, more):
    assert api.error(method, f"/responses/resp_x{more}", 404)["message"] == "Response with id 'resp_x' not found."


def test_a_deleted_response_is_gone_and_its_items_stay(serve):
    api = serve()
    conversation = api.conversation()
    response = api.answered("Hello", conversation=conversation)
    path = f"/responses/{response['id']}"
    assert api.delete(path) == {"id": response["id"], "object": "response", "deleted": True}
    api.error("GET", path, 404)
    assert said_in(api.items(conversation)) == ["Hello", "You said: Hello"]


def test_deleting_a_response_under_way_interrupts_its_model_and_frees_its_conversation(serve):
    model = Waiting()
    api = serve(model)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    api.delete(f"/responses/{response['id']}")
    assert model.returned.wait(PATIENCE)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    assert said_in(api.items(conversation)) == ["Hello"]


def test_deleting_a_conversation_interrupts_the_response_that_works_on_it(serve):
    model = Waiting()
    api = serve(model)
    conversation = api.conversation()
    done = in_thread(lambda: api.post("/responses", {"model": "m", "input": "x", "conversation": conversation}))
    assert model.called.wait(PATIENCE)
    api.delete(f"/conversations/{conversation}")
    assert model.returned.wait(PATIENCE)
    assert (done()["status"], done()["output"]) == ("cancelled", [])


def test_a_response_outlives_its_conversation(serve):
    api = serve()
    conversation = api.conversation()
    response = api.answered("Hello", conversation=conversation)
    api.delete(f"/conversations/{conversation}")
    assert api.get(f"/responses/{response['id']}") == response
    again = api.answered("Again", previous_response_id=response["id"])
    assert said_in(again["output"]) == ["You said: Again"]


def test_who_waits_for_a_response_that_is_deleted_gets_a_404_and_does_not_wait_for_the_model(serve, waiting):
    api = serve(waiting)
    result = in_thread(lambda: refused(api, {"input": "x"}, 404))
    assert waiting.called.wait(PATIENCE)
    with api.server._storage.transaction() as tx:
        [response] = tx.children("response", "")
    api.delete(f"/responses/{response['id']}")
    assert result()["message"] == f"Response with id '{response['id']}' not found."


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


def test_a_response_whose_time_is_over_fails_and_frees_its_conversation(serve):
    model = Waiting()
    api = serve(model, run_expires_after=1.0)
    conversation = api.conversation()
    failed = api.answered("Hello", "failed", conversation=conversation)
    assert failed["error"] == {"code": "server_error", "message": "The response took too long."}
    assert model.returned.wait(PATIENCE)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    assert said_in(api.items(conversation)) == ["Hello"]


@pytest.mark.parametrize("path", ["/responses", "/conversations/{id}/items"])
def test_a_request_finds_a_conversation_free_as_soon_as_its_response_is_over_time(serve, waiting, monkeypatch, path):
    monkeypatch.setattr(workers, "_EXPIRY_INTERVAL", 6 * PATIENCE)
    api = serve(waiting, run_expires_after=0.2)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    body = {"model": "m", "conversation": conversation, "background": True, "items": [HELLO]}
    url = api.server.base_url + path.format(id=conversation)
    deadline = time.monotonic() + PATIENCE
    while not api.session.post(url, json=body, timeout=PATIENCE).ok:
        assert time.monotonic() < deadline
    assert api.get(f"/responses/{response['id']}")["status"] == "failed"


def test_a_response_is_never_seen_over_its_time(serve, waiting, monkeypatch):
    monkeypatch.setattr(workers, "_EXPIRY_INTERVAL", 6 * PATIENCE)
    api = serve(waiting, run_expires_after=0.2)
    assert api.answered("Hello", "failed")["error"]["code"] == "server_error"


def test_what_has_ended_does_not_fail_when_its_time_is_over(serve):
    model = Waiting()
    api = serve(lambda request: "Hi." if request.user_message == "quick" else model(request), run_expires_after=0.5)
    completed = api.answered("quick")
    cancelled = api.post(f"/responses/{api.ask('slow')['id']}/cancel")
    abandoned = api.ask("slow", conversation=api.conversation())
    api.delete(f"/conversations/{abandoned['conversation']['id']}")
    api.answered("slow", "failed")
    for response, status in ((completed, "completed"), (cancelled, "cancelled"), (abandoned, "cancelled")):
        assert api.get(f"/responses/{response['id']}")["status"] == status


def test_a_synchronous_response_whose_time_is_over_fails_without_anybody_looking(serve):
    api = serve(Waiting(), run_expires_after=0.2)
    failed = api.post("/responses", {"model": "m", "input": "Hello"})
    assert (failed["status"], failed["error"]["message"]) == ("failed", "The response took too long.")


def test_an_attempt_is_counted_per_message_of_the_user(serve):
    busy = ModelError("rate_limit_exceeded", "Slow down.")
    model = Recorder(busy, busy, [ToolCall("get")], busy, "Done.", busy, busy, "Fine.", "Fine.")
    api = serve(model)
    conversation = api.conversation()
    for _ in range(2):
        api.answered("one", "failed", conversation=conversation)
    first = api.answered("one", conversation=conversation)
    # The outputs are of the same question: a script that skipped its failures must not meet them again.
    api.answered(outputs_for(first, "1"), "failed", conversation=conversation)
    api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("one", "failed", conversation=conversation)
    api.answered("two", "failed", conversation=conversation)
    api.answered("two", conversation=conversation)
    api.answered("two", conversation=conversation)
    assert [request.attempt for request in model.requests] == [1, 2, 3, 3, 4, 1, 1, 2, 1]


def test_an_attempt_counts_failures_over_a_message_that_was_added_first(serve):
    busy = ModelError("rate_limit_exceeded", "Slow down.")
    model = Recorder(busy, busy, "Fine.", "More.")
    api = serve(model)
    conversation = api.conversation(HELLO)
    for status in ("failed", "failed", "completed"):
        api.answered(None, status, conversation=conversation)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    api.answered(conversation=conversation)
    assert [request.attempt for request in model.requests] == [1, 2, 3, 1]


def test_a_cancelled_response_is_no_failed_attempt_and_forgets_none(serve):
    model = Waiting()
    attempts = []

    def busy_at_first(request):
        attempts.append(request.attempt)
        if len(attempts) == 1:
            raise ModelError("rate_limit_exceeded", "Slow down.")
        return model(request)

    api = serve(busy_at_first)
    conversation = api.conversation()
    api.answered("Hello", "failed", conversation=conversation)
    response = api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    assert model.returned.wait(PATIENCE)
    model.called.clear()
    api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    assert attempts == [1, 2, 2]


def test_an_incomplete_answer_is_an_answer_and_no_failed_attempt(serve):
    model = Recorder(ModelError("rate_limit_exceeded", "Slow down."), "x" * 100, "Fine.")
    api = serve(model)
    conversation = api.conversation()
    for status in ("failed", "incomplete", "completed"):
        api.answered("Hello", status, conversation=conversation, max_output_tokens=16)
    assert [request.attempt for request in model.requests] == [1, 2, 1]


def test_a_script_plays_as_on_the_other_wire(serve):
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


def test_background_responses_under_way_are_made_again_by_the_next_server(serve, tmp_path):
    path = tmp_path / "local.db"
    model = Waiting()
    first = serve(model, database=path)
    conversations = [first.conversation() for _ in range(20)]
    responses = [first.ask("Hello", conversation=each) for each in conversations]
    assert model.called.wait(PATIENCE)
    first.server.close()
    second = serve(database=path)
    for response, conversation in zip(responses, conversations, strict=True):
        assert said_in(second.follow(response, "completed")["output"]) == ["You said: Hello"]
        assert said_in(second.items(conversation)) == ["Hello", "You said: Hello"]


def test_a_synchronous_response_under_way_has_failed_after_a_restart(serve, tmp_path, waiting):
    path = tmp_path / "local.db"
    first = serve(waiting, database=path)
    conversation = first.conversation()
    body = {"input": "x", "conversation": conversation}
    result = in_thread(lambda: refused(first, body, 503))
    assert waiting.called.wait(PATIENCE)
    first.server._workers.close(0.0)
    assert result()["message"] == "The server is closing."
    first.server.close()
    second = serve(database=path)
    with second.server._storage.transaction() as tx:
        [response] = tx.children("response", conversation)
    seen = second.get(f"/responses/{response['id']}")
    assert (seen["status"], seen["error"]["code"]) == ("failed", "server_error")
    assert said_in(second.answered("Hello", conversation=conversation)["output"]) == ["You said: Hello"]


def test_closing_ends_those_who_wait_for_a_model_as_well(serve, waiting, caplog):
    api = serve(waiting)

    def ask():
        try:
            return refused(api, {"input": "x"}, 503)
        except requests.ConnectionError:
            return "hung up"

    results = [in_thread(ask) for _ in range(12)]
    deadline = time.monotonic() + PATIENCE
    while len(api.server._workers._turns) < 12:
        assert time.monotonic() < deadline
    began = time.monotonic()
    api.server.close()
    assert time.monotonic() - began < 2
    assert all(result() for result in results)
    assert "still running" not in caplog.text


def test_who_asks_a_server_that_closes_gets_a_503(serve):
    api = serve()
    api.server._workers.close(PATIENCE)
    assert refused(api, {"input": "Hello"}, 503)["message"] == "The server is closing."


def test_responses_and_items_of_one_server_are_on_the_next_one(serve, tmp_path):
    path = tmp_path / "local.db"
    first = serve(database=path)
    conversation = first.conversation()
    response = first.answered("Hello", conversation=conversation)
    items = first.items(conversation)
    first.server.close()
    second = serve(lambda request: f"Asked {len(request.messages)}.", database=path)
    assert second.get(f"/responses/{response['id']}") == response
    assert second.items(conversation) == items
    assert said_in(second.answered("Again", conversation=conversation)["output"]) == ["Asked 3."]


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
    assert f"The outcome of {lost['id']} can not be kept" in caplog.text


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
