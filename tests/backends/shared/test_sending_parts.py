"""Images and files in messages, as both APIs take and list them."""

import re

import pytest

from gpt_agent_fsm import Assistant, File, Image, Text, errors
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.machine.likeness import may_be
from gpt_agent_fsm.machine.queue import QueuedMessage
from gpt_agent_fsm.ports import PartsBackend
from tests.backends.conftest import BASE_URL, KEY

MESSAGES, ITEMS = f"{BASE_URL}/threads/t_1/messages", f"{BASE_URL}/conversations/t_1/items"
PNG = b"\x89PNG\r\n\x1a\n."
DATA_URL = "data:image/png;base64,iVBORw0KGgou"


@pytest.fixture
def threads():
    made = AssistantsBackend(BASE_URL, KEY)
    yield made
    made.close()


@pytest.fixture
def conversations():
    made = ResponsesBackend(BASE_URL, KEY, assistants={"a": Assistant("m")})
    yield made
    made.close()


def test_threads_take_texts_images_by_address_or_id_and_attached_files(threads, requests_mock):
    requests_mock.post(MESSAGES, json={"id": "msg_1", "metadata": {"gpt_agent_fsm_key": "k"}})
    parts = [Text("Look"), Image(url="https://e.com/a.png"), Image(file_id="file_1"), File(file_id="file_2")]
    parts.append(File(file_id="file_3", tools=("code_interpreter", "file_search")))
    assert threads.refused_parts(parts) is None
    assert threads.post_parts("t_1", parts, key="k", timeout=5) == ("msg_1", True)
    assert requests_mock.last_request.json() == {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
            {"type": "image_file", "image_file": {"file_id": "file_1"}},
        ],
        "attachments": [
            {"file_id": "file_2", "tools": [{"type": "file_search"}]},
            {"file_id": "file_3", "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]},
        ],
        "metadata": {"gpt_agent_fsm_key": "k"},
    }


def test_a_message_without_files_has_no_attachments(threads, requests_mock):
    requests_mock.post(MESSAGES, json={"id": "msg_1"})
    threads.post_parts("t_1", [Image(file_id="file_1")], key="k", timeout=5)
    assert "attachments" not in requests_mock.last_request.json()


def test_conversations_take_every_source(conversations, requests_mock):
    requests_mock.post(ITEMS, json={"data": [{"id": "msg_1"}]})
    parts = [
        *(Text("Look"), Image(url="https://e.com/a.png"), Image(file_id="file_1"), Image(data=PNG)),
        *(File(file_id="file_2", name="x"), File(url="https://e.com/a.pdf")),
        *(File(data=b"a,b", name="t.csv"), File(data=b"%PDF-1")),
    ]
    assert conversations.refused_parts(parts) is None
    assert conversations.post_parts("t_1", parts, key="k", timeout=5) == ("msg_1", False)
    (item,) = requests_mock.last_request.json()["items"]
    assert item == {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look"},
            {"type": "input_image", "image_url": "https://e.com/a.png"},
            {"type": "input_image", "file_id": "file_1"},
            {"type": "input_image", "image_url": DATA_URL},
            {"type": "input_file", "file_id": "file_2"},
            {"type": "input_file", "file_url": "https://e.com/a.pdf"},
            {"type": "input_file", "filename": "t.csv", "file_data": "data:text/csv;base64,YSxi"},
            {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"},
        ],
    }


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([Text("Look"), Image(data=PNG)], r'call runtime.upload\(..., purpose="vision"\) first'),
        ([Image(url="ftp://e.com/a.png")], "begins with http:// or https://"),
        ([Text("Read"), File(url="https://e.com/a.pdf")], "a file only by its id: call runtime.upload first"),
        ([Text("Read"), File(data=b"x")], "a file only by its id: call runtime.upload first"),
        ([File(file_id="file_1")], "add a text to the message"),
    ],
)
def test_threads_refuse_what_they_do_not_take(threads, parts, reason):
    assert re.search(reason, threads.refused_parts(parts))


def test_conversations_refuse_files_for_tools(conversations):
    assert "leave out the tools" in conversations.refused_parts([File(file_id="file_1", tools=("code_interpreter",))])


def test_both_backends_send_parts(threads, conversations):
    assert isinstance(threads, PartsBackend)
    assert isinstance(conversations, PartsBackend)


SENT = (Text("Look"), Image(url="https://e.com/a.png"), Image(file_id="file_1"), File(file_id="file_2"))


def test_a_message_with_parts_is_recognised_in_the_list_of_a_thread(threads, requests_mock):
    content = [
        {"type": "text", "text": {"value": "Look", "annotations": []}},
        {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "auto"}},
        {"type": "image_file", "image_file": {"file_id": "file_1", "detail": "auto"}},
    ]
    attachments = [{"file_id": "file_2", "tools": [{"type": "file_search"}]}]
    doc = {"id": "msg_1", "role": "user", "content": content, "attachments": attachments}
    requests_mock.get(MESSAGES, json={"data": [doc]})
    (message,) = threads.list_messages("t_1", after=None, newest_first=False, timeout=5).messages
    assert message.parts == SENT
    assert may_be(QueuedMessage(key="k", content="Look", parts=SENT), message)


@pytest.mark.parametrize(
    ("listed", "part"),
    [
        ({"type": "input_image", "image_url": DATA_URL, "file_id": None, "detail": "auto"}, Image(data=PNG)),
        ({"type": "input_image", "image_url": "https://e.com/a.png"}, Image(url="https://e.com/a.png")),
        ({"type": "input_image", "file_id": "file_1", "image_url": None}, Image(file_id="file_1")),
        ({"type": "input_image", "detail": "auto"}, Image()),
        ({"type": "input_file", "file_id": "file_2", "filename": "t.csv"}, File(file_id="file_2", name="t.csv")),
        ({"type": "input_file", "file_url": "https://e.com/a.pdf"}, File(url="https://e.com/a.pdf")),
        (
            {"type": "input_file", "file_data": "data:text/csv;base64,YSxi"},
            File(data=b"a,b"),
        ),
        ({"type": "input_file"}, File()),
    ],
)
def test_the_parts_of_a_users_message_are_read_as_far_as_a_conversation_shows_them(
    conversations, requests_mock, listed, part
):
    content = [{"type": "input_text", "text": "Look"}, listed]
    requests_mock.get(ITEMS, json={"data": [{"id": "m", "type": "message", "role": "user", "content": content}]})
    (message,) = conversations.list_messages("t_1", after=None, newest_first=False, timeout=5).messages
    assert message.parts == (Text("Look"), part)


@pytest.mark.parametrize("param", ["content[1].image_url.url", "attachments[0].file_id", "items[0].content[1].file_id"])
@pytest.mark.parametrize("make", ["threads", "conversations"])
def test_a_message_with_a_refused_part_is_refused_because_of_its_content(make, param, requests_mock, request):
    body = {"error": {"message": "No such file", "code": None, "param": param}}
    requests_mock.post(MESSAGES, status_code=400, json=body)
    requests_mock.post(ITEMS, status_code=400, json=body)
    with pytest.raises(errors.RequestRefused) as refused:
        request.getfixturevalue(make).post_parts("t_1", [Image(file_id="file_9")], key="k", timeout=5)
    assert refused.value.param == "content"
