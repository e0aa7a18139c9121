"""Images and files in the messages of both APIs, and how a model gets them."""

import base64

import pytest

from tests.local.stand_ins import Recorder

PNG = b"\x89PNG\r\n\x1a\n...."
PDF = b"%PDF-1.4 in ASCII"
NOTES = "Oslo är wet."


def url(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def added(api, name, content):
    form = {"file": (name, content), "purpose": (None, "user_data")}
    return api.call("POST", "/files", files=form)["id"]


@pytest.fixture
def recorded(serve):
    """A server with a model that records its requests, and the files of the tests."""
    model = Recorder(*["Seen."] * 5)
    api = serve(model)
    api.files = {
        "a.png": added(api, "a.png", PNG),
        "a.md": added(api, "a.md", NOTES.encode()),
        "a.pdf": added(api, "a.pdf", PDF),
    }
    return api, model


AS_PARTS = [
    ("a.png", {"type": "image_url", "image_url": {"url": url("image/png", PNG)}}),
    ("a.md", {"type": "text", "text": f"File a.md:\n{NOTES}"}),
    ("a.pdf", {"type": "file", "file": {"filename": "a.pdf", "file_data": url("application/pdf", PDF)}}),
]


def on_response(api, *parts):
    api.answered([{"role": "user", "content": list(parts)}])


def on_thread(api, content, **more):
    thread = api.post("/threads", {"messages": [{"role": "user", "content": content} | more]})["id"]
    api.see(api.run(thread), "completed")
    return thread


@pytest.mark.parametrize(("name", "part"), AS_PARTS)
def test_a_file_of_a_response_reaches_the_model_by_its_content(recorded, name, part):
    api, model = recorded
    on_response(api, {"type": "input_text", "text": "Look:"}, {"type": "input_file", "file_id": api.files[name]})
    [message] = model.requests[0].messages
    assert message == {"role": "user", "content": "Look:", "parts": [{"type": "text", "text": "Look:"}, part]}


@pytest.mark.parametrize(("name", "part"), AS_PARTS)
def test_an_attachment_of_a_thread_reaches_the_model_after_the_message(recorded, name, part):
    api, model = recorded
    attachments = [{"file_id": api.files[name], "tools": [{"type": "code_interpreter"}]}]
    thread = on_thread(api, "Look:", attachments=attachments)
    [message] = model.requests[0].messages
    assert message == {"role": "user", "content": "Look:", "parts": [{"type": "text", "text": "Look:"}, part]}
    listed = api.get(f"/threads/{thread}/messages", params={"order": "asc"})["data"]
    assert listed[0]["attachments"] == attachments
    assert api.get(f"/threads/{thread}/messages/{listed[0]['id']}")["attachments"] == attachments


def test_an_image_by_its_file_id_reaches_the_model_in_the_detail_that_was_asked_for(recorded):
    api, model = recorded
    on_thread(api, [{"type": "image_file", "image_file": {"file_id": api.files["a.png"], "detail": "low"}}])
    on_response(api, {"type": "input_image", "file_id": api.files["a.png"], "detail": "high"})
    for request, detail in zip(model.requests, ("low", "high"), strict=True):
        [message] = request.messages
        image = {"url": url("image/png", PNG), "detail": detail}
        assert message == {"role": "user", "content": "", "parts": [{"type": "image_url", "image_url": image}]}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_the_content_of_an_image_decides_its_type(recorded, content, kind):
    api, model = recorded
    on_response(api, {"type": "input_image", "file_id": added(api, "a.bin", content)})
    assert model.requests[0].messages[0]["parts"][0]["image_url"]["url"] == url(kind, content)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.json", b'{"a": 1}', '{"a": 1}'),
        ("a.exe", b"\xef\xbb\xbfonly text", "only text"),
        ("a.txt", b"", ""),
        ("a.txt", b"text\0", None),
        ("a.txt", b"\xff\xfe", None),
    ],
)
def test_a_file_is_text_if_its_content_is(recorded, name, content, text):
    api, model = recorded
    on_response(api, {"type": "input_file", "file_id": added(api, name, content)})
    [part] = model.requests[0].messages[0]["parts"]
    assert part.get("text") == (None if text is None else f"File {name}:\n{text}")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (base64.b64encode(PDF).decode(), AS_PARTS[2][1]),
        (url("text/plain", NOTES.encode()), AS_PARTS[1][1]),
        (url("image/png", PNG), AS_PARTS[0][1]),
    ],
)
def test_a_file_that_is_sent_in_the_request_is_handed_over_like_one_that_was_uploaded(recorded, data, part):
    api, model = recorded
    name = {"file": "a.pdf", "text": "a.md"}.get(part["type"], "a.png")
    on_response(api, {"type": "input_file", "filename": name, "file_data": data})
    assert model.requests[0].messages[0]["parts"] == [part]


def test_files_in_the_output_of_a_call_reach_the_model(recorded):
    api, model = recorded
    call = {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"}
    output = [{"type": "input_file", "file_id": api.files["a.md"]}]
    api.answered([call, {"type": "function_call_output", "call_id": "c", "output": output}])
    assert model.requests[0].messages[-1]["parts"] == [AS_PARTS[1][1]]


def test_items_with_files_are_shown_as_they_were_sent(recorded):
    api, _ = recorded
    parts = [
        {"type": "input_image", "file_id": api.files["a.png"], "detail": "auto"},
        {"type": "input_file", "file_id": api.files["a.md"]},
        {"type": "input_file", "filename": "a.txt", "file_data": "eA=="},
    ]
    conversation = api.conversation({"role": "user", "content": parts})
    assert api.items(conversation)[0]["content"] == parts


def test_the_files_of_additional_messages_are_read_too(recorded):
    api, model = recorded
    message = {"role": "user", "content": "Look:", "attachments": [{"file_id": api.files["a.md"]}]}
    api.see(api.run(api.thread(), additional_messages=[message]), "completed")
    assert model.requests[0].messages[0]["parts"][1] == AS_PARTS[1][1]


def test_a_file_that_was_deleted_since_is_a_text_that_says_so(recorded):
    api, model = recorded
    notes, image = api.files["a.md"], api.files["a.png"]
    conversation = api.conversation(
        {"role": "user", "content": [{"type": "input_file", "file_id": notes}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": image}]},
    )
    for file in (notes, image):
        api.delete(f"/files/{file}")
    api.answered(conversation=conversation)
    parts = [message["parts"][0]["text"] for message in model.requests[0].messages]
    assert parts == [f"(The file {notes} was deleted.)", f"(The file {image} was deleted.)"]


def test_an_unknown_file_is_a_400_that_names_its_place(recorded):
    api, _ = recorded
    thread = api.thread()
    attached = {"role": "user", "content": "x", "attachments": [{"file_id": api.files["a.md"]}, {"file_id": "file-x"}]}
    image = {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "file-x"}}]}
    on_threads = [
        (f"/threads/{thread}/messages", attached, "attachments[1].file_id"),
        ("/threads", {"messages": [attached]}, "messages[0].attachments[1].file_id"),
        (f"/threads/{thread}/messages", image, "content[0].image_file.file_id"),
        (
            f"/threads/{thread}/runs",
            {"assistant_id": "asst_1", "additional_messages": [image]},
            "additional_messages[0].content[0].image_file.file_id",
        ),
    ]
    for path, body, param in on_threads:
        error = api.error("POST", path, 400, json=body)
        assert (error["param"], error["code"]) == (param, "file_not_found")
        assert "file-x" in error["message"]
    assert api.texts(thread) == []
    for kind in ("input_image", "input_file"):
        items = [
            {"type": "reasoning", "summary": []},
            {"role": "user", "content": [{"type": kind, "file_id": "file-x"}]},
        ]
        error = api.error("POST", "/responses", 400, json={"model": "m", "input": items})
        assert (error["param"], error["code"]) == ("input[1].content[0].file_id", "file_not_found")


def test_a_file_that_is_not_an_image_cannot_be_shown_as_one(recorded):
    api, _ = recorded
    image = {"type": "image_file", "image_file": {"file_id": api.files["a.md"]}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    error = api.error("POST", "/threads", 400, json=body)
    assert error["param"] == "messages[0].content[0].image_file.file_id"
    assert "must be an image" in error["message"]
    part = {"type": "input_image", "file_id": api.files["a.pdf"]}
    body = {"model": "m", "input": [{"role": "user", "content": [part]}]}
    assert api.error("POST", "/responses", 400, json=body)["param"] == "input[0].content[0].file_id"


@pytest.mark.parametrize(
    ("part", "param", "words"),
    [
        ({"type": "input_file", "file_url": "http://x/a.pdf"}, "file_url", "fetches no files"),
        ({"type": "input_file", "file_data": "???"}, "file_data", "base64"),
        ({"type": "input_file", "file_data": "data:text/plain,x"}, "file_data", "base64"),
        ({"type": "input_file", "file_data": "eA==", "file_id": "file-x"}, "file_id", "Mutually exclusive"),
        ({"type": "input_image", "image_url": "http://x/y", "file_id": "file-x"}, "file_id", "Mutually exclusive"),
        ({"type": "input_file", "filename": "a.txt"}, "file_data", "Missing"),
        ({"type": "input_file", "file_id": 7}, "file_id", "string"),
    ],
)
def test_a_part_without_one_readable_source_is_a_400_that_says_which(api, part, param, words):
    body = {"model": "m", "input": [{"role": "user", "content": [part]}]}
    error = api.error("POST", "/responses", 400, json=body)
    assert error["param"] == f"input[0].content[0].{param}"
    assert words in error["message"]


def test_the_text_of_files_counts_as_tokens(api):
    part = {"type": "input_file", "filename": "a.txt", "file_data": base64.b64encode(b"x" * 4000).decode()}
    body = {"input": [{"role": "user", "content": [part]}]}
    assert api.post("/responses/input_tokens", body)["input_tokens"] > 1000
