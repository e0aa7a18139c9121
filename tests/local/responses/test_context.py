"""The context that a model gets of a conversation and of a chain of responses."""

import time

import pytest

from gpt_agent_fsm.local import ModelError, ModelRequest, ToolCall
from tests.local.responses.asking import HELLO, TOOL, calls_of, outputs_for, refused, said_in
from tests.local.stand_ins import PATIENCE, Recorder

ONE_CALL = [("user", "one"), ("assistant", ""), ("tool", "1")]
"""The messages of a question and a call with its output."""


def roles_and_texts(request):
    return [(message["role"], message["content"]) for message in request.messages]


def test_the_model_is_asked_as_in_the_assistants_api(serve):
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


def test_the_tool_calls_before_the_users_last_message_stay_in_the_context_of_the_model(serve):
    model = Recorder([ToolCall("get")], "Done.", "Again.")
    api = serve(model)
    conversation = api.conversation()
    first = api.answered("one", conversation=conversation)
    api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("two", conversation=conversation)
    assert roles_and_texts(model.requests[2]) == [*ONE_CALL, ("assistant", "Done."), ("user", "two")]
    assert model.requests[2].messages[1]["tool_calls"][0]["id"] == model.requests[2].messages[2]["tool_call_id"]
    assert model.requests[2].outputs == []


CALL, OTHER_CALL = (
    {"type": "function_call", "call_id": call_id, "name": "get", "arguments": "{}"} for call_id in ("c1", "c2")
)
OUTPUT, OTHER_OUTPUT = (
    {"type": "function_call_output", "call_id": call_id, "output": call_id} for call_id in ("c1", "c2")
)
BYE = {"role": "user", "content": "Bye"}
SURE = {"role": "assistant", "content": "Sure."}
CALLED = [("user", "Hello"), ("assistant", ""), ("tool", "c1")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([HELLO, CALL, OUTPUT, BYE], [*CALLED, ("user", "Bye")]),
        ([HELLO, CALL, BYE, OUTPUT], [*CALLED, ("user", "Bye")]),
        ([HELLO, CALL, SURE, OUTPUT], [*CALLED, ("assistant", "Sure.")]),
        ([HELLO, SURE, CALL, OUTPUT], [("user", "Hello"), ("assistant", "Sure."), ("tool", "c1")]),
        ([HELLO, CALL, OTHER_CALL, OUTPUT, BYE, OTHER_OUTPUT], [*CALLED, ("tool", "c2"), ("user", "Bye")]),
        ([HELLO, CALL, OUTPUT, OTHER_CALL, OTHER_OUTPUT], [*CALLED, ("assistant", ""), ("tool", "c2")]),
        ([HELLO, CALL, OUTPUT, CALL, OUTPUT], [*CALLED, *CALLED[1:]]),
    ],
)
def test_the_outputs_of_calls_come_right_after_them_in_whatever_order_the_items_are(serve, given, expected):
    model = Recorder("Done.")
    api = serve(model)
    api.answered(given)
    [request] = model.requests
    assert roles_and_texts(request) == expected
    open_calls = []
    for message in request.messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_calls.pop(0)
        else:
            assert open_calls == []
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
    assert open_calls == []


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


def test_a_failed_response_has_its_error_and_leaves_nothing_in_its_conversation(serve):
    api = serve(Recorder(ModelError("rate_limit_exceeded", "Slow down."), RuntimeError("secret"), "Fine."))
    conversation = api.conversation()
    failed = api.answered("Hello", "failed", conversation=conversation)
    assert failed["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert (failed["output"], failed["completed_at"], failed["usage"]) == ([], None, None)
    broken = api.answered("Hello", "failed", conversation=conversation)
    assert broken["error"] == {
        "code": "server_error",
        "message": "The model raised RuntimeError; the server's log says where.",
    }
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
    assert roles_and_texts(model.requests[2]) == [*ONE_CALL, ("assistant", "Done."), ("user", "two")]


def test_a_chain_may_continue_without_input_and_branch(serve):
    model = Recorder("a", "b", "c")
    api = serve(model)
    first = api.answered("one")
    api.answered(previous_response_id=first["id"])
    api.answered("two", previous_response_id=first["id"])
    said = [[message["content"] for message in request.messages] for request in model.requests]
    assert said == [["one"], ["one", "a"], ["one", "a", "two"]]


def test_a_chain_may_leave_a_conversation_and_knows_its_earlier_messages(serve):
    model = Recorder([ToolCall("get")], "Done.", "More.", "Bye.")
    api = serve(model)
    conversation = api.conversation({"role": "user", "content": "zero"})
    first = api.answered("one", conversation=conversation)
    second = api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("two", conversation=conversation)
    api.answered("three", previous_response_id=second["id"])
    assert roles_and_texts(model.requests[3]) == [
        ("user", "zero"),
        *ONE_CALL,
        ("assistant", "Done."),
        ("user", "three"),
    ]
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


def test_every_output_needs_its_call_before_it(api):
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
