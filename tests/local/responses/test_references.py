"""History as clients send it back: references to items, reasoning, and our own output."""

import pytest

from gpt_agent_fsm.local import ToolCall
from tests.local.responses.asking import HELLO, TOOL, calls_of, refused, said_in
from tests.local.stand_ins import Recorder

AGAIN = {"role": "user", "content": "Again"}


def reference(item):
    return {"type": "item_reference", "id": item["id"]}


def chat(*said):
    return [{"role": role, "content": text} for role, text in said]


TWO_TURNS = chat(("user", "Hello"), ("assistant", "Hi."), ("user", "Again"))


@pytest.fixture
def model():
    return Recorder("Hi.", "Fine.", "Bye.")


@pytest.fixture
def api(serve, model):
    return serve(model)


def test_a_reference_stands_for_the_answer_of_an_earlier_response(api, model):
    [answer] = api.answered([HELLO])["output"]
    second = api.answered([HELLO, reference(answer), AGAIN])
    assert model.requests[1].messages == TWO_TURNS
    [_, copy, _] = api.get(f"/responses/{second['id']}/input_items", params={"order": "asc"})["data"]
    assert copy["content"] == answer["content"]
    assert copy["id"] != answer["id"]


def test_a_reference_needs_no_type(api, model):
    [answer] = api.answered([HELLO])["output"]
    api.answered([HELLO, {"id": answer["id"]}, AGAIN])
    assert model.requests[1].messages == TWO_TURNS


def test_a_reference_stands_for_a_tool_call(serve):
    model = Recorder([ToolCall("get", {"a": 1})], "Done.")
    api = serve(model)
    [call] = calls_of(api.answered([HELLO], tools=[TOOL]))
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
    api.answered([HELLO, reference(call), output], tools=[TOOL])
    [_, asked, answered] = model.requests[1].messages
    assert asked["tool_calls"][0]["function"] == {"name": "get", "arguments": '{"a":1}'}
    assert (answered["role"], answered["content"]) == ("tool", "7")


def test_a_reference_stands_for_an_item_of_a_conversation(api, model):
    conversation = api.conversation(HELLO)
    items = api.items(conversation)
    other = api.conversation()
    api.post(f"/conversations/{other}/items", {"items": [reference(items[0]), AGAIN]})
    assert said_in(api.items(other)) == ["Hello", "Again"]


def test_a_reference_to_what_the_model_is_shown_anyway_adds_nothing(api, model):
    conversation = api.conversation()
    [answer] = api.answered([HELLO], conversation=conversation)["output"]
    api.answered([reference(answer), AGAIN], conversation=conversation)
    assert model.requests[1].messages == TWO_TURNS
    assert said_in(api.items(conversation)) == ["Hello", "Hi.", "Again", "Fine."]


def test_a_reference_works_after_a_restart(serve, model, tmp_path):
    first = serve(model, database=tmp_path / "c.db")
    [answer] = first.answered([HELLO])["output"]
    first.server.close()
    serve(model, database=tmp_path / "c.db").answered([HELLO, reference(answer), AGAIN])
    assert model.requests[1].messages == TWO_TURNS


@pytest.mark.parametrize("known", ["never made", "not stored", "deleted"])
def test_a_reference_to_an_unknown_item_is_a_404_that_names_it(api, known):
    item = {"id": "msg_x"}
    if known != "never made":
        response = api.post("/responses", {"model": "m", "input": "Hello", "store": known != "not stored"})
        [item] = response["output"]
    if known == "deleted":
        api.delete(f"/responses/{response['id']}")
    error = refused(api, {"input": [reference(item), AGAIN]}, 404)
    assert error["message"].startswith(f"Item with id '{item['id']}' not found.")
    assert error["param"] == "input"


@pytest.mark.parametrize("item_id", [None, 7, " "])
def test_a_reference_has_an_id(api, item_id):
    assert refused(api, {"input": [{"type": "item_reference", "id": item_id}]})["param"] == "input[0].id"


def test_reasoning_is_left_out(api, model):
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
    response = api.answered([HELLO, reasoning, answer, AGAIN])
    assert model.requests[0].messages == TWO_TURNS
    listed = api.get(f"/responses/{response['id']}/input_items")["data"]
    assert [item["type"] for item in listed] == ["message"] * 3


def test_the_output_of_a_response_may_be_sent_again_as_it_is(api, model):
    output = api.answered([HELLO])["output"]
    api.answered([HELLO, *output, AGAIN])
    assert model.requests[1].messages == TWO_TURNS


def test_the_content_of_a_message_may_be_posted_again_as_it_is(api):
    thread = api.thread("Hello")
    [message] = api.get(f"/threads/{thread}/messages")["data"]
    again = api.post(f"/threads/{thread}/messages", {"role": "user", "content": message["content"]})
    assert again["content"] == message["content"]
