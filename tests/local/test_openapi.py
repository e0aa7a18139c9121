"""The server's answers, byte for byte, against OpenAI's own schemas; see tests/openapi/README.md."""

import pytest

from gpt_agent_fsm.local import ModelError, ToolCall
from tests.local.schemas import DOCUMENTS, checked, faults, jsonschema
from tests.local.stand_ins import PATIENCE, Recorder

FORM = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}
TOOLS = [{"type": "function", "name": "get", "parameters": {"type": "object"}}]


def answered(api, **body):
    """Create a response in the background, and check each of its states."""
    seen = checked("Response", api.ask(**body))
    while seen["status"] in ("queued", "in_progress"):
        seen = checked("Response", api.get(f"/responses/{seen['id']}"))
    return seen


def test_the_schemas_are_schemas_and_refuse_other_objects(api):
    for document in DOCUMENTS:
        for schema in document["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)
    response = api.answered("Hello")
    for field in ("id", "output", "tools", "temperature", "metadata"):
        assert faults("Response", {name: value for name, value in response.items() if name != field})
    assert faults("Response", response | {"status": "done"})
    assert faults("Response", response | {"output": [{"type": "message"}]})
    assert faults("ConversationItem", response["output"][0] | {"role": "somebody"})
    assert faults("ConversationItemList", {"object": "list", "data": [{}], "has_more": False})


def test_conversations_and_items_fit_their_schemas(api):
    conversation = checked("ConversationResource", api.post("/conversations", {"metadata": {"a": "b"}}))
    path = f"/conversations/{conversation['id']}"
    checked("ConversationItemList", api.get(f"{path}/items"))
    picture = {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"}
    document = {"type": "input_file", "filename": "a.txt", "file_data": "eA=="}
    items = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}, picture, document]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": "Yes."},
        {"type": "function_call", "call_id": "call_1", "name": "get", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "1"}, picture]},
        {"type": "function_call", "call_id": "call_2", "name": "get", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_2", "output": "2"},
    ]
    added = checked("ConversationItemList", api.post(f"{path}/items", {"items": items}))
    assert checked("ConversationItemList", api.get(f"{path}/items"))["data"] == added["data"][::-1]
    for item in added["data"]:
        checked("ConversationItem", api.get(f"{path}/items/{item['id']}"))
    checked("ConversationResource", api.post(path, {"metadata": {}}))
    checked("ConversationResource", api.delete(f"{path}/items/{added['first_id']}"))
    checked("ConversationResource", api.get(path))
    checked("DeletedConversationResource", api.delete(path))


def test_responses_of_every_end_fit_their_schema(serve):
    api = serve(
        Recorder(
            [ToolCall("get", {"a": 1})], "Done.", ModelError("rate_limit_exceeded", "x"), "x" * 100, {"ok": True}, "y"
        )
    )
    conversation = api.conversation()
    first = answered(api, said="go", conversation=conversation, tools=TOOLS, instructions="Be kind.")
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "1"}
    second = answered(api, said=[output], conversation=conversation, metadata={"a": "b"})
    assert (first["status"], second["status"]) == ("completed", "completed")
    for response in (first, second):
        checked("ResponseItemList", api.get(f"/responses/{response['id']}/input_items"))
    listed = checked("ConversationItemList", api.get(f"/conversations/{conversation}/items"))
    assert [item["type"] for item in listed["data"][::-1]] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert answered(api, said="x", previous_response_id=second["id"])["status"] == "failed"
    assert answered(api, said="x", max_output_tokens=16)["status"] == "incomplete"
    again = [{"role": "user", "content": "x"}, {"type": "item_reference", "id": second["output"][0]["id"]}]
    options = {"temperature": 0, "reasoning": {"effort": "low"}, "seed": 7, "stop": ["END"]}
    third = answered(api, said=again, text={"format": FORM}, **options)
    assert third["output"][0]["content"][0]["text"] == '{"ok":true}'
    checked("ResponseItemList", api.get(f"/responses/{third['id']}/input_items"))
    assert checked("Response", api.post("/responses", {"model": "gpt-5", "input": "x"}))["status"] == "completed"


def test_a_cancelled_response_and_the_list_of_no_input_fit_their_schemas(serve, waiting):
    api = serve(waiting)
    conversation = api.conversation({"role": "user", "content": "Hello"})
    response = api.ask(conversation=conversation)
    assert waiting.called.wait(PATIENCE)
    checked("Response", api.get(f"/responses/{response['id']}"))
    assert checked("Response", api.post(f"/responses/{response['id']}/cancel"))["status"] == "cancelled"
    assert checked("ResponseItemList", api.get(f"/responses/{response['id']}/input_items"))["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/conversations/conv_x", None, 404),
        ("GET", "/responses/resp_x", None, 404),
        ("POST", "/responses", {"model": "m"}, 400),
        ("POST", "/responses", {"model": "m", "input": [{}]}, 400),
        ("POST", "/conversations", {"items": 7}, 400),
        ("PUT", "/conversations", {}, 405),
    ],
)
def test_errors_fit_their_schema(api, method, path, body, status):
    assert checked("ErrorResponse", api.call(method, path, json=body, expect=status))["error"]["message"]
