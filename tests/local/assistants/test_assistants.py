"""Assistants, threads and messages: storing, listing and refusing them."""

import pytest


def test_an_assistant_is_created_changed_listed_and_deleted(api):
    made = api.post("/assistants", {"model": "gpt", "name": "Ann", "instructions": "Be kind.", "metadata": {"a": "b"}})
    assert made["id"].startswith("asst_")
    assert len(made["id"]) == len("asst_") + 24
    assert api.get(f"/assistants/{made['id']}") == made
    tools = [{"type": "function", "function": {"name": "f"}}]
    changed = api.post(f"/assistants/{made['id']}", {"name": None, "tools": tools, "model": "gpt-2"})
    assert changed == made | {"name": None, "tools": tools, "model": "gpt-2"}
    assert api.post(f"/assistants/{made['id']}", {"tools": None, "model": None}) == changed | {"tools": []}
    assert [each["id"] for each in api.get("/assistants")["data"]] == [made["id"]]
    gone = api.delete(f"/assistants/{made['id']}")
    assert gone == {"id": made["id"], "object": "assistant.deleted", "deleted": True}
    error = api.error("GET", f"/assistants/{made['id']}", 404)
    assert error["message"] == f"No assistant found with id '{made['id']}'."
    assert api.get("/assistants")["data"] == []


def test_a_thread_is_created_changed_and_deleted_with_all_that_is_in_it(api):
    made = api.post("/threads", {"metadata": {"a": "b"}, "messages": [{"role": "user", "content": "Hi"}]})
    thread = made["id"]
    assert api.get(f"/threads/{thread}") == made
    changed = api.post(f"/threads/{thread}", {"metadata": {"c": "d"}, "tool_resources": {"x": {}}})
    assert changed == made | {"metadata": {"c": "d"}, "tool_resources": {"x": {}}}
    assert api.post(f"/threads/{thread}", {"tool_resources": None}) == changed | {"tool_resources": {}}
    assert api.post(f"/threads/{thread}", {}) == changed | {"tool_resources": {}}
    run = api.see(api.run(thread), "completed")
    assert api.delete(f"/threads/{thread}") == {"id": thread, "object": "thread.deleted", "deleted": True}
    for path in ("", "/messages", "/runs", f"/runs/{run['id']}", f"/runs/{run['id']}/steps"):
        assert api.error("GET", f"/threads/{thread}{path}", 404)["message"] == f"No thread found with id '{thread}'."
    with api.server._storage.transaction() as tx:
        assert tx.children("message", thread) == tx.children("run", thread) == tx.children("step", run["id"]) == []


def test_an_empty_body_makes_a_thread(api):
    assert api.call("POST", "/threads", data=b"")["object"] == "thread"


def test_a_message_is_posted_changed_and_deleted(api):
    thread = api.thread()
    made = api.post(f"/threads/{thread}/messages", {"role": "user", "content": "Hi", "metadata": {"a": "b"}})
    assert made["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert (made["run_id"], made["assistant_id"], made["thread_id"]) == (None, None, thread)
    path = f"/threads/{thread}/messages/{made['id']}"
    assert api.get(path) == made
    changed = api.post(path, {"metadata": {}})
    assert changed == made | {"metadata": {}} == api.post(path, {})
    assert api.delete(path) == {"id": made["id"], "object": "thread.message.deleted", "deleted": True}
    assert api.error("GET", path, 404)["message"] == f"No message found with id '{made['id']}'."


def test_an_object_is_found_in_its_own_thread_only(api):
    thread, other = api.thread("one"), api.thread()
    message = api.get(f"/threads/{thread}/messages")["data"][0]["id"]
    run = api.see(api.run(thread), "completed")["id"]
    assert "No message found" in api.error("GET", f"/threads/{other}/messages/{message}", 404)["message"]
    assert "No run found" in api.error("GET", f"/threads/{other}/runs/{run}", 404)["message"]
    assert "No thread found" in api.error("GET", f"/threads/thread_x/messages/{message}", 404)["message"]


def test_content_may_be_parts_of_text_and_images(api):
    thread = api.thread()
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
        {"type": "text", "text": "two"},
    ]
    message = api.post(f"/threads/{thread}/messages", {"role": "user", "content": parts})
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "image_url", "text"]
    assert message["content"][1]["image_url"] == {"url": "https://example.com/a.png", "detail": "auto"}
    assert message["content"][2]["image_url"]["detail"] == "low"
    api.see(api.run(thread), "completed")
    assert api.texts(thread)[-1] == "You said: one\ntwo"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"content": "x"}, "role"),
        ({"role": 7, "content": "x"}, "role"),
        ({"role": "system", "content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": " \n"}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": "x" * 256_001}, "content[0].text"),
        ({"role": "user", "content": ["x"]}, "content[0]"),
        ({"role": "user", "content": [{}]}, "content[0].type"),
        ({"role": "user", "content": [{"type": "sound"}]}, "content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": {}}]}, "content[0].text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content[0].image_url"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content[0].image_url.url"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
            "content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "f"}}]},
            "content[0].image_file.file_id",
        ),
        ({"role": "user", "content": [{"type": "image_file"}]}, "content[0].image_file"),
        ({"role": "user", "content": [{"type": "image_file", "image_file": {}}]}, "content[0].image_file.file_id"),
        ({"role": "user", "content": "x", "attachments": [{}]}, "attachments[0].file_id"),
        ({"role": "user", "content": "x", "attachments": [{"file_id": "f"}]}, "attachments[0].file_id"),
        (
            {"role": "user", "content": "x", "attachments": [{"file_id": "f", "tools": [{"type": "function"}]}]},
            "attachments[0].tools[0].type",
        ),
        (
            {"role": "user", "content": "x", "attachments": [{"file_id": "f", "tools": [{}]}]},
            "attachments[0].tools[0].type",
        ),
        ({"role": "user", "content": "x", "attachments": "y"}, "attachments"),
        ({"role": "user", "content": "x", "metadata": []}, "metadata"),
        ({"role": "user", "content": "x", "metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"role": "user", "content": "x", "metadata": {"k" * 65: ""}}, "metadata"),
        ({"role": "user", "content": "x", "metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"role": "user", "content": "x", "metadata": {"k": 1}}, "metadata.k"),
        ({"role": "user", "content": "x", "metadata": {"k": None}}, "metadata.k"),
        ({"role": "user", "content": "x", "stream": True}, "stream"),
    ],
)
def test_an_invalid_message_is_refused_and_not_stored(api, body, param):
    thread = api.thread()
    error = api.error("POST", f"/threads/{thread}/messages", 400, json=body)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert api.texts(thread) == []


def test_metadata_may_be_as_large_as_the_limits(api):
    metadata = {f"{n:064}": "v" * 512 for n in range(16)}
    assert api.post("/threads", {"metadata": metadata})["metadata"] == metadata
    assert api.post("/threads", {"metadata": None})["metadata"] == {}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/assistants", {}, "model"),
        ("/assistants", {"model": " "}, "model"),
        ("/assistants", {"model": "m", "name": "n" * 257}, "name"),
        ("/assistants", {"model": "m", "instructions": 7}, "instructions"),
        ("/assistants", {"model": "m", "tools": {}}, "tools"),
        ("/assistants", {"model": "m", "tools": [7]}, "tools[0]"),
        ("/assistants", {"model": "m", "tools": [{}]}, "tools[0].type"),
        ("/assistants", {"model": "m", "tools": [{"type": "function"}]}, "tools[0].function"),
        ("/assistants", {"model": "m", "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ("/assistants", {"model": "m", "tools": [{"type": "code_interpreter"}] * 129}, "tools"),
        ("/threads", {"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, "messages[1].content"),
        ("/threads", {"messages": {}}, "messages"),
        ("/threads", {"tool_resources": 1.5}, "tool_resources"),
    ],
)
def test_invalid_fields_are_refused_with_their_param(api, path, body, param):
    assert api.error("POST", path, 400, json=body)["param"] == param
    assert api.get("/assistants")["data"] == []


def test_messages_of_one_second_keep_their_order(api):
    texts = [str(number) for number in range(30)]
    thread = api.thread(*texts)
    assert api.texts(thread, limit=100) == texts
    assert api.texts(thread, limit=100, order="desc") == texts[::-1]


def test_a_list_has_twenty_items_newest_first_unless_asked_otherwise(api):
    thread = api.thread(*(str(number) for number in range(25)))
    page = api.get(f"/threads/{thread}/messages")
    assert [message["content"][0]["text"]["value"] for message in page["data"]] == [str(n) for n in range(24, 4, -1)]
    assert page["has_more"] is True
    assert page["object"] == "list"
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])


def test_an_empty_list_has_no_first_and_no_last(api):
    page = api.get(f"/threads/{api.thread()}/messages")
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_reading_page_by_page_brings_everything_once(api, order):
    texts = [str(number) for number in range(7)]
    thread = api.thread(*texts)
    seen, after, more = [], None, True
    while more:
        page = api.get(f"/threads/{thread}/messages", params={"limit": 3, "order": order, "after": after})
        seen += [message["content"][0]["text"]["value"] for message in page["data"]]
        after, more = page["last_id"], page["has_more"]
    assert seen == (texts if order == "asc" else texts[::-1])


def test_before_reads_the_page_that_ends_just_before_an_object(api):
    thread = api.thread(*"abcdef")
    ids = {
        message["content"][0]["text"]["value"]: message["id"]
        for message in api.get(f"/threads/{thread}/messages")["data"]
    }
    assert api.texts(thread, before=ids["e"], limit=2) == ["c", "d"]
    assert api.texts(thread, before=ids["b"], order="desc", limit=3) == ["e", "d", "c"]
    assert api.texts(thread, after=ids["a"], before=ids["e"], limit=2) == ["b", "c"]
    assert api.texts(thread, after=ids["a"], before=ids["c"]) == ["b"]
    page = api.get(f"/threads/{thread}/messages", params={"before": ids["e"], "order": "asc", "limit": 4})
    assert page["has_more"] is False


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "\u0661"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "msg_x"}, "after"),
        ({"before": "msg_x"}, "before"),
    ],
)
def test_an_invalid_page_is_refused_with_its_param(api, params, param):
    assert api.error("GET", f"/threads/{api.thread('a')}/messages", 400, params=params)["param"] == param


def test_a_limit_may_be_one_or_a_hundred(api):
    thread = api.thread("a", "b")
    assert api.texts(thread, limit=1) == ["a"]
    assert api.texts(thread, limit=100) == ["a", "b"]


def test_a_cursor_of_another_thread_is_unknown(api):
    foreign = api.get(f"/threads/{api.thread('a')}/messages")["first_id"]
    error = api.error("GET", f"/threads/{api.thread('b')}/messages", 400, params={"after": foreign})
    assert error["message"] == f"Invalid 'after': no object with id '{foreign}' is in this list."


def test_messages_can_be_filtered_by_their_run(api):
    thread = api.thread("one")
    first = api.see(api.run(thread), "completed")
    api.post(f"/threads/{thread}/messages", {"role": "user", "content": "two"})
    second = api.see(api.run(thread), "completed")
    assert api.texts(thread, run_id=first["id"]) == ["You said: one"]
    assert api.texts(thread, run_id=second["id"]) == ["You said: two"]
    assert api.texts(thread, run_id="run_x") == []
