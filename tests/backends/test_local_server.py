"""The errors that a user reads after a mistake, against the embedded server."""

import pytest

from gpt_agent_fsm.errors import AccessDenied, ApiError, InvalidThreadId, RequestRefused
from gpt_agent_fsm.local import LocalServer

RIGHT = "sk-the-right-key"


@pytest.fixture(scope="module")
def server():
    with LocalServer(api_key=RIGHT) as server:
        yield server


def test_correct_use_raises_no_error(make, server):
    backend = make(server.base_url, RIGHT)
    thread_id = backend.create_thread(timeout=5)
    assert backend.get_thread(thread_id, timeout=5) is None
    message_id, kept = backend.post_message(thread_id, "Hello", key="k", timeout=5)
    assert kept
    page = backend.list_messages(thread_id, after=None, newest_first=False, timeout=5)
    assert [(message.id, message.content, message.key) for message in page.messages] == [(message_id, "Hello", "k")]


@pytest.mark.parametrize("key", ["sk-the-wrong-key", None])
def test_a_wrong_or_missing_key_is_named(make, server, key):
    with pytest.raises(
        AccessDenied, match=r"check api_key \(or OPENAI_API_KEY\); the server says: .*API key"
    ) as caught:
        make(server.base_url, key).create_thread(timeout=5)
    assert caught.value.status == 401
    assert "sk-the" not in str(caught.value)


def test_a_base_url_without_its_path_is_named(make, server):
    backend = make(server.base_url.removesuffix("/v1"), RIGHT)
    with pytest.raises(
        RequestRefused, match="the base URL may be wrong: base_url must be the part of the address before /threads"
    ):
        backend.create_thread(timeout=5)
    with pytest.raises(
        InvalidThreadId, match="the base URL may be wrong: base_url must be the part of the address before /threads"
    ):
        backend.get_thread("thread_1", timeout=5)


def test_a_thread_that_does_not_exist_is_named(make, server):
    with pytest.raises(InvalidThreadId, match=f"The server at {server.base_url} knows no thread 'thread_1'"):
        make(server.base_url, RIGHT).get_thread("thread_1", timeout=5)


def test_the_name_of_a_request_is_the_one_in_the_servers_log(make, server):
    with pytest.raises(ApiError, match="request req_"):
        make(server.base_url, RIGHT).get_run("thread_1", "run_1", timeout=5)
