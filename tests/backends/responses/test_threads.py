"""Making the backend, and its requests for threads and messages."""

import pytest

from gpt_agent_fsm import Assistant, errors
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.ports import Backend
from tests.backends.conftest import KEY
from tests.backends.responses.samples import (
    ANSWER,
    ASSISTANTS,
    BASE,
    ITEMS,
    LOCKED,
    asked,
    said,
    sent,
    told,
)


def test_the_backend_is_one(backend):
    assert isinstance(backend, Backend)
    assert repr(backend) == "ResponsesBackend(base_url='http://api.test/v1', assistants=['asst_1', 'asst_2'])"


# --- making the backend ---------------------------------------------------------------------------------------------


def test_given_headers_and_parameters_are_sent_with_each_request(requests_mock):
    requests_mock.post(f"{BASE}/conversations", json={"id": "conv_1", "metadata": {}})
    more = {"headers": {"X-Trace": "t1", "User-Agent": "mine"}, "params": {"api-version": "preview"}}
    backend = ResponsesBackend(BASE, KEY, assistants=ASSISTANTS, **more)
    backend.create_thread(timeout=5)
    backend.close()
    request = requests_mock.last_request
    assert (request.headers["X-Trace"], request.headers["User-Agent"]) == ("t1", "mine")
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.query == "api-version=preview"


@pytest.mark.parametrize("assistants", [None, [], {"a": "gpt-4o"}, {1: ASSISTANTS["asst_1"]}, ASSISTANTS["asst_1"]])
def test_assistants_that_are_not_a_mapping_to_assistants_are_refused(assistants):
    with pytest.raises(ValueError, match="must map assistant ids to"):
        ResponsesBackend(BASE, KEY, assistants=assistants)


def test_options_that_the_backend_sets_itself_are_refused():
    with pytest.raises(ValueError, match="'asst_1' must leave conversation, input out of its options"):
        ResponsesBackend(BASE, KEY, assistants={"asst_1": Assistant("m", options={"input": 1, "conversation": 2})})


@pytest.mark.parametrize("end", ["responses", "conversations", "threads"])
def test_an_address_that_ends_with_a_resource_says_where_it_should_end(end):
    with pytest.raises(ValueError, match="the part of the address before /responses"):
        ResponsesBackend(f"{BASE}/{end}", KEY, assistants={})


def test_the_environment_gives_address_and_key(monkeypatch, requests_mock):
    monkeypatch.setenv("OPENAI_BASE_URL", BASE)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    requests_mock.post(f"{BASE}/conversations", json={"id": "conv_1"})
    assert ResponsesBackend(assistants={}).create_thread(timeout=5) == "conv_1"
    assert requests_mock.last_request.headers["Authorization"] == f"Bearer {KEY}"
    assert "OpenAI-Beta" not in requests_mock.last_request.headers


# --- threads and messages -------------------------------------------------------------------------------------------


def test_a_thread_is_a_conversation(backend, api):
    assert backend.get_thread("conv_1", timeout=5) is None
    api.get(f"{BASE}/conversations/conv_2", status_code=404, json={"error": {"message": "Conversation not found."}})
    with pytest.raises(errors.InvalidThreadId, match="knows no thread 'conv_2'"):
        backend.get_thread("conv_2", timeout=5)
    api.get(
        f"{BASE}/conversations/x", status_code=400, json={"error": {"message": "no such", "param": "conversation_id"}}
    )
    with pytest.raises(errors.InvalidThreadId):
        backend.get_thread("x", timeout=5)
    api.get(f"{BASE}/conversations/y", status_code=400, json={"error": {"message": "Bad header"}})
    with pytest.raises(errors.RequestRefused) as refused:
        backend.get_thread("y", timeout=5)
    assert not isinstance(refused.value, errors.InvalidThreadId)


def test_a_message_is_added_as_an_item(backend, api):
    api.post(ITEMS, json={"object": "list", "data": [said()]})
    assert backend.post_message("conv_1", "Hello", key="k", timeout=5) == ("msg_1", False)
    content = [{"type": "input_text", "text": "Hello"}]
    assert sent(api) == [
        ("/conversations/conv_1/items", {"items": [{"type": "message", "role": "user", "content": content}]})
    ]


@pytest.mark.parametrize("data", [[], [{"type": "message"}], None])
def test_a_message_without_an_id_is_one_of_unknown_outcome(backend, api, data):
    api.post(ITEMS, json={"data": data})
    with pytest.raises(errors.OutcomeUnknown):
        backend.post_message("conv_1", "Hello", key="k", timeout=5)


def test_a_locked_conversation_is_a_busy_thread(backend, api):
    api.post(ITEMS, status_code=400, json=LOCKED)
    with pytest.raises(errors.ThreadBusy) as busy:
        backend.post_message("conv_1", "Hello", key="k", timeout=5)
    assert busy.value.locked


def test_messages_are_the_items_that_are_messages_and_pages_continue_after_the_last_item(backend, api):
    api.get(ITEMS, json={"data": [said(), asked(), ANSWER, told()], "has_more": True})
    page = backend.list_messages("conv_1", after="msg_0", newest_first=False, timeout=5)
    assert page.messages == (
        Message(id="msg_1", role="user", content="Hello"),
        Message(id="msg_2", role="assistant", content="Hi"),
    )
    assert page.next_after == "fco_call_1"
    assert api.last_request.qs == {"limit": ["100"], "order": ["asc"], "after": ["msg_0"]}
    api.get(ITEMS, json={"data": [told(), asked()], "has_more": False})
    backend.list_messages("conv_1", after=None, newest_first=True, timeout=5)
    assert api.last_request.qs == {"limit": ["100"], "order": ["desc"]}


def test_a_page_without_a_message_is_not_the_end(backend, api):
    page = {"data": [asked(), told()], "has_more": True}
    api.get(ITEMS, [{"json": page}, {"json": {"data": [ANSWER], "has_more": False}}])
    listed = backend.list_messages("conv_1", after=None, newest_first=False, timeout=5)
    assert ([message.id for message in listed.messages], listed.next_after) == (["msg_2"], None)
    api.get(ITEMS, json=page)
    assert backend.list_messages("conv_1", after=None, newest_first=False, timeout=5).messages == ()
