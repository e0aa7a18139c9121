"""The last run of a conversation, which the API cannot list."""

import pytest

from gpt_agent_fsm.backends.responses.asks import ENDED
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.backends.responses.samples import (
    ANSWER,
    CONVERSATION,
    QUEUED,
    RESPONSES,
    asked,
    given,
    holds,
    last,
    response,
    said,
    told,
)


def noted(api, seen=None, response_id="resp_1"):
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": {"gpt_agent_fsm_run": response_id}})
    if seen is None:
        api.get(f"{RESPONSES}/{response_id}", status_code=404, json={"error": {"message": "Not found"}})
    else:
        api.get(f"{RESPONSES}/{response_id}", json=seen)


def test_a_conversation_without_a_note_has_no_run_but_a_newest_message(backend, api):
    holds(api)
    assert backend.list_runs("conv_1", limit=1, timeout=5).newest_message_id == ""
    holds(api, said(), ANSWER)
    page = backend.list_runs("conv_1", limit=1, timeout=5)
    assert (page.runs, page.newest_message_id) == ((), "msg_2")


def test_the_run_of_the_note_is_found(backend, api):
    holds(api, said())
    noted(api, QUEUED)
    assert last(backend).handle == "resp_1"


def test_open_calls_are_a_run_even_if_the_note_is_out_of_date(backend, api):
    holds(api, said(), ANSWER, said("More", "msg_3"), asked())
    noted(api, response("resp_0", "completed", ANSWER), "resp_0")
    assert (last(backend).id, last(backend).status) == ("fc_1", RunStatus.NEEDS_TOOLS)


def test_a_note_about_a_deleted_response_is_ignored(backend, api):
    holds(api, said())
    noted(api)
    assert last(backend) is None


def test_open_calls_are_a_run_even_without_a_note(backend, api):
    holds(api, said(), asked())
    run = last(backend)
    assert (run.id, run.status, run.inferred) == ("fc_1", RunStatus.NEEDS_TOOLS, True)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([said(), asked()], RunStatus.NEEDS_TOOLS),
        ([said()], RunStatus.NEEDS_TOOLS),
        ([said(), asked(), told(), ANSWER], RunStatus.COMPLETED),
        ([said(), asked(), told()], RunStatus.COMPLETED),
        ([said(), asked(), told(), said("More", "msg_3")], None),
    ],
    ids=["waits", "not listed yet", "was continued", "has its outputs", "is long over"],
)
def test_the_state_of_a_noted_run_that_asked_for_tools_is_inferred_from_the_conversation(backend, api, items, status):
    holds(api, *items)
    noted(api, response("resp_1", "completed", asked()))
    run = last(backend)
    assert (run and run.status) == status


def test_a_run_in_doubt_is_found_by_its_key_or_by_its_items(backend, api):
    holds(api, said(), ANSWER)
    noted(api, response("resp_1", "completed", ANSWER, metadata={"gpt_agent_fsm_key": "k.1"}))
    assert last(backend, key="k.1").id == "resp_1"
    run = last(backend, key="k.2")
    assert (run.id, run.key, run.status) == ("msg_2", "k.2", RunStatus.COMPLETED)


def test_a_run_in_doubt_is_found_behind_the_open_calls_of_another_client(backend, api):
    holds(api, said(), ANSWER, asked())
    noted(api, response("resp_1", "completed", ANSWER, metadata={"gpt_agent_fsm_key": "k.1"}))
    page = backend.list_runs("conv_1", limit=100, key="k.1", timeout=5)
    assert [(run.key, run.status) for run in page.runs] == [
        (None, RunStatus.NEEDS_TOOLS),
        ("k.1", RunStatus.COMPLETED),
    ]
    (newest,) = backend.list_runs("conv_1", limit=1, timeout=5).runs
    assert newest.status is RunStatus.NEEDS_TOOLS


def test_a_run_in_doubt_that_left_no_items_is_not_found(backend, api):
    holds(api, ANSWER, said())
    noted(api, response("resp_1", "completed", ANSWER))
    assert last(backend, key="k.2").key is None


def test_calls_of_the_repeated_run_are_not_taken_for_those_of_the_repetition(backend, api):
    holds(api, said(), asked())
    noted(api, response("resp_0", "failed"), "resp_0")
    given(api, told())
    assert last(backend, key="k.2", retry_of="resp_0").key is None
    holds(api, said(), asked(), told(), asked("call_2"))
    run = last(backend, key="k.2", retry_of="resp_0")
    assert (run.key, [call.id for call in run.tool_calls]) == ("k.2", ["call_2"])


def test_a_state_inferred_for_a_noted_run_is_marked_as_inferred(backend, api):
    holds(api, said(), asked(), told(), asked("call_2"))
    noted(api, response("resp_1", "completed", asked()))
    run = last(backend)
    assert (run.id, [call.id for call in run.tool_calls], run.inferred) == ("resp_1", ["call_2"], True)


def test_calls_of_a_noted_run_that_have_outputs_are_not_asked_again(backend, api):
    noted(api, response("resp_1", "completed", asked("call_1"), asked("call_2")))
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_1"))
    assert [call.id for call in last(backend).tool_calls] == ["call_2"]
    # The note is about the first round of calls, and the second one has its outputs as well.
    holds(api, said(), asked("call_1"), told("call_1"), asked("call_3"), told("call_3"))
    assert last(backend).tool_calls == ()


def test_a_noted_run_whose_later_calls_were_closed_does_not_wait_for_its_first_calls(backend, api):
    noted(api, response("resp_1", "completed", asked("call_1")))
    holds(api, said(), asked("call_1"), told("call_1"), asked("call_2"), told("call_2", ENDED))
    run = last(backend)
    assert (run.status, run.code) == (RunStatus.FAILED, "cancelled")


def test_a_note_that_names_a_former_response_does_not_ask_for_its_answered_calls_again(backend, api):
    noted(api, response("resp_1", "completed", asked("call_1")))
    holds(api, said(), asked("call_1"), told("call_1"))
    assert last(backend).status is RunStatus.COMPLETED
