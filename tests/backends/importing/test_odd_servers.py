"""Servers and messages that differ from the documentation."""

import json
import re

import pytest

from gpt_agent_fsm.backends.importing import ThreadImport
from gpt_agent_fsm.errors import (
    RequestRefused,
    TransientError,
)
from tests.backends.importing.importer import after, importer_for, unknown

BASE = "http://api.test/v1"


class Odd:
    """A server that lists its thread as a test wants; its conversations are normal."""

    def __init__(self, requests_mock):
        self.mock = requests_mock
        self.kept = []
        self.listed_whole = False
        self.mock.get(f"{BASE}/threads/t", json={"id": "t"})
        self.mock.get(re.compile(f"{BASE}/files/.*"), status_code=404, json={"error": {"message": "No such file"}})
        self.mock.post(f"{BASE}/conversations", json={"id": "c"})
        self.mock.get(f"{BASE}/conversations/c", json={"id": "c"})
        self.mock.post(f"{BASE}/conversations/c/items", json=self._add)
        self.mock.get(f"{BASE}/conversations/c/items", json=self._list)

    def thread(self, *pages):
        """Let the thread be listed as these bodies; the last one is repeated."""
        self.mock.get(f"{BASE}/threads/t/messages", [{"content": json.dumps(page).encode()} for page in pages])

    def message(self, **fields):
        """Let the thread hold one message."""
        self.thread({"data": [{"id": "m", "role": "user"} | fields], "has_more": False})

    def _add(self, request, _):
        self.kept += [item | {"id": f"i{len(self.kept) + n}"} for n, item in enumerate(request.json()["items"])]
        return {}

    def _list(self, request, _):
        start = int(request.qs.get("after", ["i-1"])[0][1:]) + 1
        return self.kept if self.listed_whole else self.kept[start : start + 100]

    @property
    def texts(self):
        return [item["content"][0]["text"] for item in self.kept]


@pytest.fixture
def odd(requests_mock):
    return Odd(requests_mock)


@pytest.fixture
def odd_importer(wires):
    return importer_for(BASE, wires)


def plain(*numbers, **fields):
    """Return messages as they are listed, each called by its number and saying it."""
    return [{"id": f"m{n}", "role": "user", "content": str(n)} | fields for n in numbers]


def test_a_server_that_lists_the_newest_first_whatever_it_is_asked_is_read_backwards(odd, odd_importer):
    newest_first = [{"created_at": n} | message for n, message in zip((3, 2, 2, 1), plain(3, 2, 1, 0), strict=True)]
    odd.thread({"data": newest_first[:3], "has_more": True}, {"data": newest_first[3:], "has_more": False})
    odd_importer("t")
    assert odd.texts == ["0", "1", "2", "3"]


def test_messages_of_the_same_second_stay_in_the_order_of_the_list(odd, odd_importer):
    odd.thread({"data": plain(1, 2, created_at=5) + plain(3), "has_more": False})
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_a_server_that_does_not_say_whether_there_is_more_is_asked_until_it_lists_nothing(odd, odd_importer):
    odd.thread(plain(1, 2), plain(3), [])
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_a_message_listed_twice_is_copied_once(odd, odd_importer):
    odd.thread({"data": plain(1, 2, 2), "has_more": True}, {"data": plain(2, 3), "has_more": True}, plain(3))
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_a_server_that_repeats_one_full_page_is_not_believed(odd, odd_importer):
    odd.thread({"data": plain(*range(100)), "has_more": True})
    with pytest.raises(RequestRefused, match="gives the same 100 entries for each page"):
        odd_importer("t")
    assert odd.kept == []


def test_a_server_that_lists_all_in_one_page_however_long_is_believed(odd, odd_importer):
    odd.thread({"data": plain(*range(130))})
    odd.listed_whole = True
    odd_importer("t")
    assert odd.texts == [str(n) for n in range(130)]


def test_a_server_that_lists_a_conversation_from_its_beginning_each_time_is_understood(odd, odd_importer, wires):
    odd.thread(plain(*range(30)), [])
    odd.listed_whole = True
    wires.on("POST", "/items", None, after(unknown))
    odd_importer("t")
    assert odd.texts == [str(n) for n in range(30)]


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ({"data": None}, "it has no list of data"),
        ({"messages": []}, "it has no list of data"),
        (3, "it has no list of data"),
        ({"data": [{"role": "user", "content": "Hello"}]}, "it has no id"),
        ({"data": ["Hello"]}, "it has no id"),
    ],
)
def test_a_list_that_cannot_be_read_whole_is_not_read_in_part(odd, odd_importer, page, what):
    odd.thread(page)
    with pytest.raises(TransientError, match=what):
        odd_importer("t")
    assert odd.kept == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("Hello", [{"type": "input_text", "text": "Hello"}]),
        ([{"type": "text", "text": "Hello"}], [{"type": "input_text", "text": "Hello"}]),
        (
            [{"type": "text", "text": {"value": "Hello", "annotations": None}}],
            [{"type": "input_text", "text": "Hello"}],
        ),
        ([{"text": {"value": "Hello"}}], [{"type": "input_text", "text": "Hello"}]),
        ([{"type": "input_text", "text": "Hello"}], [{"type": "input_text", "text": "Hello"}]),
        (
            [{"type": "text", "text": {"value": ""}}, {"type": "text", "text": "x"}],
            [{"type": "input_text", "text": "x"}],
        ),
        (
            [{"type": "image_url", "image_url": {"url": "https://a.test/b", "detail": 3}}],
            [{"type": "input_image", "image_url": "https://a.test/b", "detail": "auto"}],
        ),
    ],
)
def test_content_is_read_in_all_its_shapes(odd, odd_importer, content, kept):
    odd.message(content=content)
    assert odd_importer("t").left_out == {}
    assert [item["content"] for item in odd.kept] == [kept]


IMAGE_FILE = {"type": "image_file", "image_file": {"file_id": "file-1"}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://example.com/1.png"}}


def test_parts_that_cannot_be_copied_are_left_out_and_counted(odd, odd_importer):
    files = [{"file_id": "file-2"}, {"file_id": "file-3"}]
    odd.thread(
        [
            {"id": "m1", "role": "user", "content": [IMAGE_FILE, {"text": "Look"}], "attachments": files},
            {"id": "m2", "role": "assistant", "content": [{"text": "I see"}, IMAGE_FILE, IMAGE_URL]},
        ],
        [],
    )
    done = odd_importer("t")
    assert [(item["role"], len(item["content"])) for item in odd.kept] == [("user", 1), ("assistant", 1)]
    assert odd.texts == ["Look", "I see"]
    assert done.left_out == {"image_file": 2, "image_url": 1, "attachment": 2}
    assert done.messages_left_out == 0


def test_a_server_without_files_leaves_out_all_images_that_are_files(odd, odd_importer):
    odd.mock.get(f"{BASE}/files/file-1", status_code=501, json={"error": {"message": "Files are not offered."}})
    odd.message(content=[IMAGE_FILE, {"text": "Look"}])
    assert odd_importer("t").left_out == {"image_file": 1}


def test_a_file_is_asked_for_again_after_an_error_that_passes(odd, odd_importer):
    odd.mock.get(f"{BASE}/files/file-1", [{"status_code": 503}, {"json": {"id": "file-1"}}])
    odd.message(content=[IMAGE_FILE])
    assert odd_importer("t").left_out == {}
    assert [item["content"] for item in odd.kept] == [[{"type": "input_image", "file_id": "file-1", "detail": "auto"}]]


def test_a_message_that_is_empty_after_that_is_left_out(odd, odd_importer):
    odd.thread(plain(1) + plain(2, content=[IMAGE_FILE]) + plain(3), [])
    done = odd_importer("t")
    assert odd.texts == ["1", "3"]
    assert (done.copied, done.total, done.messages_left_out, done.left_out) == (2, 2, 1, {"image_file": 1})
    odd.thread(plain(1) + plain(2, content=[IMAGE_FILE]) + plain(3), [])
    assert odd_importer("t", into="c") == done


def test_a_refusal_is_copied_as_one(odd, odd_importer):
    odd.message(role="assistant", content=[{"type": "refusal", "refusal": "I cannot."}])
    odd_importer("t")
    assert [item["content"] for item in odd.kept] == [[{"type": "refusal", "refusal": "I cannot."}]]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_other_roles_that_the_api_knows_are_kept(odd, odd_importer, role):
    odd.message(role=role, content="Be kind.")
    odd_importer("t")
    assert [(item["role"], item["content"][0]["type"]) for item in odd.kept] == [(role, "input_text")]


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"content": None}, {}),
        ({"content": ""}, {}),
        ({"content": []}, {}),
        ({"content": [{"type": "text", "text": {"value": ""}}]}, {}),
        ({"content": [{"type": "text", "text": None}]}, {"text": 1}),
        ({"content": [{"type": "audio", "text": "Hello"}]}, {"audio": 1}),
        ({"content": [{"type": "a\x1b[31m secret"}, {"type": 3}, 3]}, {"unknown": 3}),
        ({"content": [{"type": "refusal", "refusal": "No"}]}, {"refusal": 1}),
        ({"content": [{"type": "image_url", "image_url": "https://a.test"}]}, {"image_url": 1}),
        ({"content": "", "attachments": [{}, {}]}, {"attachment": 2}),
        ({"content": "", "attachments": "none"}, {}),
        ({"role": "tool", "content": "Hello"}, {}),
        ({"role": None, "content": "Hello"}, {}),
    ],
)
def test_a_message_without_anything_to_copy_is_counted(odd, odd_importer, fields, left_out):
    odd.message(**fields)
    done = odd_importer("t")
    assert (done.total, done.messages_left_out, done.left_out) == (0, 1, left_out)
    assert odd.kept == []


def test_the_result_is_plain_numbers(odd, odd_importer):
    odd.thread(plain(1), [])
    assert odd_importer("t") == ThreadImport(conversation_id="c", copied=1, total=1, left_out={}, messages_left_out=0)
