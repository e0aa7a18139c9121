"""Conversations and their items, as a client sees them."""

import pytest
import requests

from tests.local.stand_ins import PATIENCE

LOCKED = {
    "message": "Another process is currently operating on this conversation. Please retry in a few seconds.",
    "type": "invalid_request_error",
    "param": None,
    "code": "conversation_locked",
}


def said(text, role="user"):
    return {"role": role, "content": text}


def call(call_id="call_1"):
    return {"type": "function_call", "call_id": call_id, "name": "get", "arguments": "{}"}


def output(call_id="call_1", value="1"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def text_of(item):
    return item["content"][0]["text"]


def test_a_conversation_is_made_read_changed_and_deleted(api):
    made = api.post("/conversations", {"metadata": {"a": "b"}})
    path = f"/conversations/{made['id']}"
    assert made["id"].startswith("conv_")
    assert (made["object"], made["metadata"]) == ("conversation", {"a": "b"})
    assert isinstance(made["created_at"], int)
    assert api.get(path) == made
    assert api.post(path, {"metadata": {"c": "d"}}) == made | {"metadata": {"c": "d"}} == api.get(path)
    assert api.delete(path) == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    api.error("GET", path, 404)


def test_this_wire_needs_no_beta_header(api):
    made = requests.post(f"{api.server.base_url}/conversations", json={}, timeout=PATIENCE)
    assert (made.status_code, made.json()["object"]) == (200, "conversation")


def test_this_wire_asks_for_the_key(serve):
    assert serve(api_key="sk-right").error("POST", "/conversations", 401)["code"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", ""),
        ("DELETE", ""),
        ("GET", "/items"),
        ("POST", "/items"),
        ("GET", "/items/msg_x"),
        ("DELETE", "/items/msg_x"),
    ],
)
def test_an_unknown_conversation_is_a_404_that_names_it(api, method, path):
    error = api.error(method, f"/conversations/conv_x{path}", 404)
    assert error["message"] == "Conversation with id 'conv_x' not found."
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


def test_an_item_that_is_not_there_or_elsewhere_is_a_404_that_names_both(api):
    here, elsewhere = api.conversation(said("a")), api.conversation(said("b"))
    [other] = api.items(elsewhere)
    for method in ("GET", "DELETE"):
        error = api.error(method, f"/conversations/{here}/items/{other['id']}", 404)
        assert error["message"] == f"Item with id '{other['id']}' not found in conversation '{here}'."
    assert api.items(elsewhere) == [other]


@pytest.mark.parametrize(
    ("metadata", "param"),
    [({"a": 1}, "metadata.a"), ("x", "metadata"), ({"a": "x" * 513}, "metadata.a"), ({"x" * 65: "a"}, "metadata")],
)
def test_metadata_of_another_shape_is_refused(api, metadata, param):
    path = f"/conversations/{api.conversation()}"
    assert api.error("POST", "/conversations", 400, json={"metadata": metadata})["param"] == param
    assert api.error("POST", path, 400, json={"metadata": metadata})["param"] == param
    assert api.get(path)["metadata"] == {}


def test_changing_a_conversation_needs_metadata(api):
    error = api.error("POST", f"/conversations/{api.conversation()}", 400, json={})
    assert (error["param"], error["code"]) == ("metadata", "missing_required_parameter")


def test_items_of_every_kind_are_stored_with_ids_of_their_own(api):
    conversation = api.conversation()
    sent = [
        said("Be kind.", "system"),
        said("Be brief.", "developer"),
        {"type": "message", "id": "msg_mine", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        said("Yes?", "assistant"),
        call() | {"id": "fc_mine", "status": "in_progress"},
        output(value=[{"type": "input_text", "text": "7"}]) | {"id": "fco_mine"},
    ]
    added = api.post(f"/conversations/{conversation}/items", {"items": sent})
    assert (added["object"], added["has_more"]) == ("list", False)
    assert (added["first_id"], added["last_id"]) == (added["data"][0]["id"], added["data"][-1]["id"])
    assert [item["id"].split("_")[0] for item in added["data"]] == ["msg", "msg", "msg", "msg", "fc", "fco"]
    assert not {"msg_mine", "fc_mine", "fco_mine"} & {item["id"] for item in added["data"]}
    bare = [{name: value for name, value in item.items() if name != "id"} for item in added["data"]]
    spoken = {"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": []}
    assert bare == [
        {"type": "message", "status": "completed", "role": role, "content": [part]}
        for role, part in [
            ("system", {"type": "input_text", "text": "Be kind."}),
            ("developer", {"type": "input_text", "text": "Be brief."}),
            ("user", {"type": "input_text", "text": "Hello"}),
            ("assistant", spoken),
        ]
    ] + [
        call() | {"status": "completed"},
        output(value=[{"type": "input_text", "text": "7"}]) | {"status": "completed"},
    ]
    assert api.items(conversation) == added["data"]
    for item in added["data"]:
        assert api.get(f"/conversations/{conversation}/items/{item['id']}") == item


@pytest.mark.parametrize(
    ("role", "part", "stored"),
    [
        ("user", {"type": "input_image", "image_url": "http://x/y.png"}, {"detail": "auto"}),
        ("user", {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"}, {}),
        ("user", {"type": "input_file", "filename": "a.txt", "file_data": "eA=="}, {}),
        ("assistant", {"type": "refusal", "refusal": "No."}, {}),
        ("assistant", {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}, {}),
        ("assistant", {"type": "output_text", "text": "x"}, {"annotations": [], "logprobs": []}),
    ],
)
def test_other_parts_are_stored_as_they_were_sent_with_their_defaults(api, role, part, stored):
    [item] = api.items(api.conversation({"role": role, "content": [part]}))
    assert item["content"] == [part | stored]


def test_items_of_an_answer_may_be_sent_again(api):
    sent = [said("Hello"), said("Hi", "assistant"), call(), output()]
    first = api.items(api.conversation(*sent))
    again = api.items(api.conversation(*first))
    assert [item | {"id": ""} for item in again] == [item | {"id": ""} for item in first]
    assert not {item["id"] for item in first} & {item["id"] for item in again}


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ("text", "items[0]", "invalid_type"),
        ({}, "items[0].role", "missing_required_parameter"),
        ({"type": 7}, "items[0].type", "invalid_type"),
        ({"type": "computer_call", "id": "cu_1"}, "items[0].type", "invalid_value"),
        ({"role": "user"}, "items[0].content", "missing_required_parameter"),
        ({"role": "tool", "content": "x"}, "items[0].role", "invalid_value"),
        ({"role": "user", "content": 7}, "items[0].content", "invalid_type"),
        ({"role": "user", "content": ["x"]}, "items[0].content[0]", "invalid_type"),
        ({"role": "user", "content": [{"text": "x"}]}, "items[0].content[0].type", "missing_required_parameter"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, "items[0].content[0].type", "invalid_value"),
        (
            {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]},
            "items[0].content[0].type",
            "invalid_value",
        ),
        (
            {"role": "user", "content": [{"type": "input_text"}]},
            "items[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "text": "x"}]},
            "items[0].content[0].refusal",
            "missing_required_parameter",
        ),
        (
            {"role": "user", "content": [{"type": "input_image"}]},
            "items[0].content[0].image_url",
            "missing_required_parameter",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "a.png"}]},
            "items[0].content[0].image_url",
            "invalid_value",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]},
            "items[0].content[0].file_id",
            "file_not_found",
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]},
            "items[0].content[0].file_id",
            "file_not_found",
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_url": "http://x/a.pdf"}]},
            "items[0].content[0].file_url",
            "not_offered",
        ),
        (
            {"role": "developer", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]},
            "items[0].content[0].type",
            "invalid_value",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]},
            "items[0].content[0].image_url",
            "invalid_type",
        ),
        ({"type": "function_call", "name": "a", "arguments": ""}, "items[0].call_id", "missing_required_parameter"),
        (
            {"type": "function_call", "call_id": "c", "arguments": ""},
            "items[0].name",
            "missing_required_parameter",
        ),
        ({"type": "function_call", "call_id": "c", "name": "a"}, "items[0].arguments", "missing_required_parameter"),
        (
            {"type": "function_call", "call_id": "c", "name": "a", "arguments": {}},
            "items[0].arguments",
            "invalid_type",
        ),
        ({"type": "function_call_output", "output": "x"}, "items[0].call_id", "missing_required_parameter"),
        ({"type": "function_call_output", "call_id": "c"}, "items[0].output", "missing_required_parameter"),
        (
            {"type": "function_call_output", "call_id": "c", "output": {"a": 1}},
            "items[0].output",
            "invalid_type",
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "output_text", "text": "x"}]},
            "items[0].output[0].type",
            "invalid_value",
        ),
    ],
)
def test_an_item_of_another_shape_is_refused_with_its_place_and_nothing_is_added(api, item, param, code):
    conversation = api.conversation()
    for path in ("/conversations", f"/conversations/{conversation}/items"):
        error = api.error("POST", path, 400, json={"items": [item]})
        assert (error["param"], error["code"]) == (param, code), error["message"]
    later = api.error("POST", f"/conversations/{conversation}/items", 400, json={"items": [said("a"), item]})
    assert later["param"] == param.replace("[0]", "[1]", 1)
    assert api.items(conversation) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"items": []}, "missing_required_parameter"),
        ({"items": said("x")}, "invalid_type"),
        ({"items": [said("x")] * 21}, "array_above_max_length"),
    ],
)
def test_one_to_twenty_items_are_added_at_once(api, body, code):
    conversation = api.conversation()
    error = api.error("POST", f"/conversations/{conversation}/items", 400, json=body)
    assert (error["param"], error["code"]) == ("items", code)
    api.post(f"/conversations/{conversation}/items", {"items": [said("x")] * 20})
    assert len(api.items(conversation)) == 20


def test_a_conversation_begins_with_at_most_twenty_items(api):
    assert len(api.items(api.conversation(*[said("x")] * 20))) == 20
    error = api.error("POST", "/conversations", 400, json={"items": [said("x")] * 21})
    assert error["code"] == "array_above_max_length"


def test_items_are_listed_twenty_at_a_time_the_newest_first(api):
    conversation = api.conversation(*[said(str(number)) for number in range(20)])
    api.post(f"/conversations/{conversation}/items", {"items": [said("20")]})
    listed = api.get(f"/conversations/{conversation}/items")
    assert [text_of(item) for item in listed["data"]] == [str(number) for number in range(20, 0, -1)]
    assert (listed["first_id"], listed["last_id"]) == (listed["data"][0]["id"], listed["data"][-1]["id"])
    assert listed["has_more"]
    rest = api.get(f"/conversations/{conversation}/items", params={"after": listed["last_id"]})
    assert ([text_of(item) for item in rest["data"]], rest["has_more"]) == (["0"], False)


def test_pages_follow_each_other_in_both_orders(api):
    conversation = api.conversation(*[said(letter) for letter in "abcde"])
    for order, expected in (("asc", "abcde"), ("desc", "edcba")):
        seen, params = "", {"limit": 2, "order": order}
        while True:
            listed = api.get(f"/conversations/{conversation}/items", params=params)
            seen += "".join(text_of(item) for item in listed["data"])
            if not listed["has_more"]:
                break
            params["after"] = listed["last_id"]
        assert seen == expected


def test_items_cannot_be_read_backwards(api):
    conversation = api.conversation(*[said(letter) for letter in "abc"])
    listed = api.get(f"/conversations/{conversation}/items", params={"order": "asc", "before": "x"})
    assert [text_of(item) for item in listed["data"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("params", "param"),
    [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"limit": "x"}, "limit"), ({"order": "up"}, "order")],
)
def test_an_invalid_page_is_refused(api, params, param):
    path = f"/conversations/{api.conversation()}/items"
    assert api.error("GET", path, 400, params=params)["param"] == param


def test_reading_on_after_an_item_that_is_not_in_the_list_is_refused(api):
    other = api.items(api.conversation(said("x")))[0]["id"]
    error = api.error("GET", f"/conversations/{api.conversation()}/items", 400, params={"after": other})
    assert (error["param"], error["code"]) == ("after", "invalid_value")


def test_deleting_an_item_answers_the_conversation_without_it(api):
    conversation = api.conversation(said("a"), said("b"))
    item = api.items(conversation)[0]["id"]
    assert api.delete(f"/conversations/{conversation}/items/{item}") == api.get(f"/conversations/{conversation}")
    assert [text_of(item) for item in api.items(conversation)] == ["b"]
    api.error("GET", f"/conversations/{conversation}/items/{item}", 404)


def test_the_items_go_with_their_conversation(api):
    conversation = api.conversation(said("a"))
    item = api.items(conversation)[0]["id"]
    api.delete(f"/conversations/{conversation}")
    error = api.error("GET", f"/conversations/{conversation}/items/{item}", 404)
    assert error["message"] == f"Conversation with id '{conversation}' not found."
    with api.server._storage.transaction() as tx:
        assert tx.children("item", conversation) == []


@pytest.mark.parametrize("before", [[call(), output()], []])
def test_a_second_output_for_the_same_call_is_not_added(api, before):
    conversation = api.conversation(*before)
    added = [output()] if before else [call(), output(), output()]
    error = api.error("POST", f"/conversations/{conversation}/items", 400, json={"items": added})
    assert error["message"] == "Duplicate tool output found for function call call_1."
    assert error["param"] == "items"
    assert len(api.items(conversation)) == len(before)
    assert api.error("POST", "/conversations", 400, json={"items": [call(), output(), output()]})["param"] == "items"


def test_an_output_may_follow_its_call_later(api):
    conversation = api.conversation(call("call_1"), call("call_2"), output("call_1"))
    api.post(f"/conversations/{conversation}/items", {"items": [output("call_2")]})
    assert [item["call_id"] for item in api.items(conversation)[2:]] == ["call_1", "call_2"]


def test_while_a_response_is_made_its_conversation_takes_no_items(serve, waiting):
    api = serve(waiting)
    conversation = api.conversation(said("a"))
    path = f"/conversations/{conversation}"
    response = api.ask("Hello", conversation=conversation)
    assert api.error("POST", f"{path}/items", 400, json={"items": [said("b")]}) == LOCKED
    assert waiting.called.wait(PATIENCE)
    assert api.error("POST", f"{path}/items", 400, json={"items": [said("b")]}) == LOCKED
    assert api.error("POST", "/responses", 400, json={"model": "m", "conversation": conversation}) == LOCKED
    assert api.post(path, {"metadata": {"a": "b"}})["metadata"] == {"a": "b"}
    assert [text_of(item) for item in api.items(conversation)] == ["a"]
    waiting.go.set()
    api.follow(response, "completed")
    api.post(f"{path}/items", {"items": [said("b")]})
    assert [text_of(item) for item in api.items(conversation)] == ["a", "Hello", "too late", "b"]


def test_a_conversation_is_free_while_another_one_is_locked(serve, waiting):
    api = serve(waiting)
    api.ask("Hello", conversation=api.conversation())
    assert waiting.called.wait(PATIENCE)
    other = api.conversation()
    api.post(f"/conversations/{other}/items", {"items": [said("b")]})
    assert len(api.items(other)) == 1
