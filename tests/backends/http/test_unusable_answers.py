"""Answers with a good status that are not what the API promises, and texts in odd encodings."""

import json

import pytest

from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.ports import RunRequest

BASE = "http://api.test/v1"
THREAD = f"{BASE}/threads/t"
HINT = "the base URL may be wrong: base_url must be the part of the address before /threads"


@pytest.fixture
def page(backend, requests_mock):
    """Return the page that is made of this body."""

    def read(body):
        requests_mock.get(f"{THREAD}/messages", content=json.dumps(body).encode())
        return backend.list_messages("t", after=None, newest_first=False, timeout=5)

    return read


MALFORMED = [
    (b"<!doctype html><title>Welcome</title>", "an HTML page"),
    (b"<html><body>Sign in</body></html>", "an HTML page"),
    (b"", "empty"),
    (b" \n", "empty"),
    (b"null", "not what the API promises (it is not an object)"),
    (b"[]", "not what the API promises (it is not an object)"),
    (b'"ok"', "not what the API promises (it is not an object)"),
    (b"{}", "not what the API promises (it has no id)"),
    (b'{"id": null}', "not what the API promises (it has no id)"),
    (b'{"id": ""}', "not what the API promises (it has no id)"),
    (b'{"id": true}', "not what the API promises (it has no id)"),
    (b'{"id": {}}', "not what the API promises (it has no id)"),
    (b'{"id": "r', "not what the API promises (it is not valid JSON)"),
    (b"OK", "not what the API promises (it is not valid JSON)"),
    ('{"id": "é"}'.encode("latin-1"), "not what the API promises (it is not valid JSON)"),
    (b"[" * 100_000, "not what the API promises (it is nested too deeply)"),
    (b'{"error": "Unexpected endpoint"}', "an error (Unexpected endpoint)"),
    (b'{"error": {"message": "Not\\nhere"}}', "an error (Not here)"),
]


@pytest.mark.parametrize(("body", "what"), MALFORMED)
def test_a_malformed_answer_to_a_get_is_transient_and_says_what_to_check(backend, requests_mock, body, what):
    requests_mock.get(f"{THREAD}/runs/r", content=body, headers={"x-request-id": "req_1"})
    with pytest.raises(TransientError) as caught:
        backend.get_run("t", "r", timeout=5)
    assert type(caught.value) is TransientError
    assert caught.value.hopeless
    assert str(caught.value) == f"The answer to GET {THREAD}/runs/r is {what}; {HINT} (HTTP 200, request req_1)"


@pytest.mark.parametrize(("body", "what"), MALFORMED)
def test_a_malformed_answer_to_a_post_is_an_unknown_outcome(backend, requests_mock, body, what):
    requests_mock.post(f"{THREAD}/runs", status_code=201, content=body)
    with pytest.raises(OutcomeUnknown) as caught:
        backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=5)
    assert caught.value.in_flight is True
    assert caught.value.hopeless
    assert str(caught.value) == f"The answer to POST {THREAD}/runs is {what}; {HINT} (HTTP 201)"


@pytest.mark.parametrize("body", [b"{}", b'{"data": null}', b'{"data": {}}', b"null", b'"x"', b"3"])
def test_a_list_without_data_is_malformed(backend, requests_mock, body):
    requests_mock.get(f"{THREAD}/messages", content=body)
    requests_mock.get(f"{THREAD}/runs", content=body)
    with pytest.raises(TransientError, match=r"\(it has no list of data\)"):
        backend.list_messages("t", after=None, newest_first=False, timeout=5)
    with pytest.raises(TransientError, match=r"\(it has no list of data\)"):
        backend.list_runs("t", limit=1, timeout=5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_unicode_encoding_is_read(backend, requests_mock, encoding):
    requests_mock.get(f"{THREAD}/runs/r", content='{"id": "é🌍"}'.encode(encoding))
    assert backend.get_run("t", "r", timeout=5).id == "é🌍"


def test_the_charset_a_server_claims_changes_nothing(backend, requests_mock):
    headers = {"Content-Type": "text/plain; charset=latin-1"}
    requests_mock.get(f"{THREAD}/runs/r", content='{"id": "é"}'.encode(), headers=headers)
    assert backend.get_run("t", "r", timeout=5).id == "é"


def test_numbers_that_json_does_not_allow_are_ignored(backend, requests_mock):
    body = b'{"id": "r", "created_at": NaN, "usage": {"total_tokens": Infinity, "prompt_tokens": 1e999}, "x": [1e999]}'
    requests_mock.get(f"{THREAD}/runs/r", content=body)
    assert backend.get_run("t", "r", timeout=5).usage == Usage()


def test_an_unpaired_surrogate_is_replaced_so_that_it_can_be_stored(page):
    read = page(
        {"data": [{"id": "m", "role": "assistant", "content": "cut \ud83d", "metadata": {"\ude00": ["\ud83d"]}}]}
    )
    assert read.messages[0].content == "cut \ufffd"
    assert read.messages[0].content.encode()


def test_text_with_an_unpaired_surrogate_is_refused_before_it_is_sent(backend, requests_mock):
    from gpt_agent_fsm.errors import RequestRefused

    with pytest.raises(RequestRefused, match="an unpaired surrogate"):
        backend.post_message("t", "\ud83d", key="k", timeout=5)
    assert not requests_mock.called
