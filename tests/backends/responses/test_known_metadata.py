"""Metadata of conversations are read once in a while, and what others have written stays."""

import pytest

from gpt_agent_fsm.backends.responses.known_metadata import KnownMetadata
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.ports import RunRequest, ToolOutputsRequest
from gpt_agent_fsm.testing import VirtualClock
from tests.backends.responses.samples import BASE, CONVERSATION, QUEUED, RESPONSES

NOTE = {"gpt_agent_fsm_run": "resp_1"}


def start_and_continue(backend):
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    outputs = ToolOutputsRequest(
        thread_id="conv_1", run_id="resp_1", outputs=(("call_1", "21"),), assistant_id="asst_1"
    )
    backend.submit_tool_outputs(outputs, timeout=5)


def on_the_conversation(api):
    asked = [each for each in api.request_history if each.url == CONVERSATION]
    return [(each.method, each.json()["metadata"] if each.method == "POST" else None) for each in asked]


def test_two_notes_in_a_row_read_the_metadata_once_and_keep_the_entries_of_others(backend, api):
    api.post(RESPONSES, json=QUEUED)
    start_and_continue(backend)
    note = ("POST", {"title": "Weather"} | NOTE)
    assert on_the_conversation(api) == [("GET", None), note, note]


def test_metadata_are_read_again_after_a_note_has_failed(backend, api):
    api.post(RESPONSES, json=QUEUED)
    api.post(CONVERSATION, [{"status_code": 500, "json": {}}, {"json": {"id": "conv_1", "metadata": {}}}])
    start_and_continue(backend)
    assert [method for method, _ in on_the_conversation(api)] == ["GET", "POST", "GET", "POST"]


def test_metadata_that_were_read_when_the_thread_was_connected_need_not_be_read_again(backend, api):
    api.post(RESPONSES, json=QUEUED)
    backend.get_thread("conv_1", timeout=5)
    start_and_continue(backend)
    assert [method for method, _ in on_the_conversation(api)] == ["GET", "POST", "POST"]


def test_metadata_are_known_for_thirty_seconds_after_they_were_read_even_if_they_were_written_since():
    clock = VirtualClock(now=100.0)
    known = KnownMetadata(clock.monotonic)
    known.read("conv_1", {"title": "Weather"})
    clock.now += 29.0
    known.written("conv_1", {"title": "Weather"} | NOTE)
    assert known.get("conv_1") == {"title": "Weather"} | NOTE
    clock.now += 1.5
    assert known.get("conv_1") is None


def test_metadata_that_were_written_without_being_read_are_not_known():
    known = KnownMetadata()
    known.written("conv_1", NOTE)
    assert known.get("conv_1") is None


def test_the_metadata_of_a_limited_number_of_conversations_are_known():
    known = KnownMetadata()
    for number in range(100_001):
        known.read(f"conv_{number}", {})
    assert (known.get("conv_0"), known.get("conv_1")) == (None, {})


def start(backend, *, durable):
    request = RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1", durable=durable)
    backend.create_run(request, timeout=5)


def test_metadata_of_another_conversation_are_not_written_into_this_one(backend, api):
    api.get(CONVERSATION, json={"id": "conv_other", "metadata": {"owner": "somebody else"}})
    api.post(RESPONSES, json=QUEUED)
    start(backend, durable=False)
    assert [method for method, _ in on_the_conversation(api)] == ["GET"]


@pytest.mark.parametrize("metadata", ["title", ["title"], 1, True])
def test_metadata_that_are_not_an_object_fail_a_search_and_are_not_overwritten(backend, api, metadata):
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": metadata})
    api.post(RESPONSES, json=QUEUED)
    sentence = "The metadata of conv_1 cannot be read: they are not an object."
    with pytest.raises(TransientError, match=sentence):
        backend.list_runs("conv_1", limit=1, timeout=5)
    start(backend, durable=False)
    assert "POST" not in [method for method, _ in on_the_conversation(api)]


@pytest.mark.parametrize("metadata", [None, [], "", {}])
def test_metadata_that_are_empty_count_as_an_empty_object(backend, api, metadata):
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": metadata})
    api.post(RESPONSES, json=QUEUED)
    start(backend, durable=False)
    assert on_the_conversation(api) == [("GET", None), ("POST", NOTE)]


def test_the_metadata_of_a_new_conversation_that_are_not_an_object_are_read_again(backend, api):
    api.post(f"{BASE}/conversations", json={"id": "conv_1", "metadata": "title"})
    api.post(RESPONSES, json=QUEUED)
    assert backend.create_thread(timeout=5) == "conv_1"
    start(backend, durable=False)
    assert on_the_conversation(api)[0] == ("GET", None)


def test_a_durable_program_reads_the_metadata_once_and_leaves_no_note(backend, api):
    api.post(RESPONSES, json=QUEUED)
    start(backend, durable=True)
    start(backend, durable=True)
    assert on_the_conversation(api) == [("GET", None)]


def test_a_durable_program_renews_a_note_because_an_old_note_leads_to_an_old_run(backend, api):
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": {"gpt_agent_fsm_run": "resp_0", "title": "Weather"}})
    api.post(RESPONSES, json=QUEUED)
    start(backend, durable=True)
    start(backend, durable=True)
    note = ("POST", {"title": "Weather"} | NOTE)
    assert on_the_conversation(api) == [("GET", None), note, note]


def test_the_metadata_of_a_new_conversation_are_known(backend, api):
    api.post(f"{BASE}/conversations", json={"id": "conv_1", "metadata": {}})
    api.post(RESPONSES, json=QUEUED)
    backend.create_thread(timeout=5)
    start(backend, durable=True)
    assert on_the_conversation(api) == []
