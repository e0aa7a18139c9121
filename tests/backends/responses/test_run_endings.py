"""Tool outputs that continue a run, and the cancel that ends it."""

import pytest

from gpt_agent_fsm import errors
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import ToolOutputsRequest
from tests.backends.responses.samples import (
    ANSWER,
    ITEMS,
    QUEUED,
    RESPONSES,
    asked,
    holds,
    poll,
    response,
    said,
    sent,
    told,
)

# --- outputs ----------------------------------------------------------------------------------------------------


def submit(backend, handle="resp_1"):
    outputs = (("call_1", "21"), ("call_2", "22"))
    request = ToolOutputsRequest(
        thread_id="conv_1", run_id="resp_1", outputs=outputs, assistant_id="asst_1", handle=handle
    )
    return backend.submit_tool_outputs(request, timeout=5)


def test_outputs_are_the_input_of_the_response_that_continues_the_run(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    poll(backend, api, response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    run = submit(backend)
    assert (run.id, run.handle, run.status) == ("resp_1", "resp_2", RunStatus.ACTIVE)
    body = sent(api)[0][1]
    assert [(i["type"], i["call_id"], i["output"]) for i in body["input"]] == [
        ("function_call_output", "call_1", "21"),
        ("function_call_output", "call_2", "22"),
    ]
    assert body["metadata"] == {
        "gpt_agent_fsm_run": "resp_1",
        "gpt_agent_fsm_assistant": "asst_1",
        "gpt_agent_fsm_usage": "1/2/3",
    }
    assert body["conversation"] == "conv_1"
    assert sent(api)[-1][1]["metadata"]["gpt_agent_fsm_run"] == "resp_2"


def test_outputs_that_are_refused_because_they_are_there_have_arrived(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_1"), told("call_2"), ANSWER)
    api.get(f"{RESPONSES}/resp_1", json=response("resp_1"))
    api.post(RESPONSES, status_code=400, json={"error": {"message": "No tool call found"}})
    assert submit(backend).status is RunStatus.COMPLETED
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_1"))
    with pytest.raises(errors.RequestRefused):
        submit(backend)


def test_outputs_are_sent_even_if_the_response_that_requested_them_was_deleted(backend, api):
    api.get(f"{RESPONSES}/resp_1", status_code=404, json={"error": {"message": "Not found"}})
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    assert submit(backend).handle == "resp_2"


def test_the_tokens_of_a_run_are_requested_if_this_process_has_not_seen_them(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    api.get(f"{RESPONSES}/resp_1", json=response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    submit(backend)
    assert sent(api)[0][1]["metadata"]["gpt_agent_fsm_usage"] == "1/2/3"
    submit(backend, handle=None)
    assert "gpt_agent_fsm_usage" in sent(api)[2][1]["metadata"]


def test_tokens_are_counted_on_a_server_that_blocks_and_keeps_no_metadata(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    poll(backend, api, response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json={"id": "resp_2", "status": "completed", "output": [asked("call_3")], "usage": usage})
    run = submit(backend)
    assert (run.status, run.usage.total_tokens) == (RunStatus.NEEDS_TOOLS, 6)
    api.post(RESPONSES, json={"id": "resp_3", "status": "completed", "output": [ANSWER], "usage": usage})
    assert submit(backend, handle="resp_2").usage.total_tokens == 9


def test_only_a_limited_number_of_runs_is_remembered(backend, api, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.backends.responses.backend._MAX_REMEMBERED", 2)
    for number in range(5):
        poll(backend, api, response(f"resp_{number}", "completed", asked()), run_id=f"resp_{number}")
    assert list(backend._usages) == ["resp_3", "resp_4"]


# --- the end of a run -----------------------------------------------------------------------------------------------


def cancel(backend, **how):
    return backend.cancel_run("conv_1", "resp_1", **({"handle": "resp_2"} | how), timeout=5)


def test_the_last_response_of_the_chain_is_cancelled(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", json=response("resp_2", "cancelled"))
    run = cancel(backend)
    assert (run.id, run.status, run.code) == ("resp_1", RunStatus.FAILED, "cancelled")


@pytest.mark.parametrize("status", [400, 409])
def test_a_run_that_waits_for_tools_is_cancelled_by_answering_them(backend, api, status):
    holds(api, said(), asked("call_1"), told("call_1"))
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=status, json={"error": {"message": "completed"}})
    api.get(f"{RESPONSES}/resp_2", json=response("resp_2", "completed", asked("call_1"), asked("call_2")))
    api.post(ITEMS, json={"data": []})
    run = cancel(backend)
    assert (run.id, run.status, run.code) == ("resp_1", RunStatus.FAILED, "cancelled")
    (added,) = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [item["call_id"] for item in added] == ["call_2"]


def test_a_run_that_is_over_cannot_be_cancelled(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=400, json={"error": {"message": "completed"}})
    api.get(f"{RESPONSES}/resp_2", json=response("resp_2", "completed", ANSWER))
    with pytest.raises(errors.RequestRefused, match="completed"):
        cancel(backend)


def test_errors_before_a_cancel_are_raised_unchanged(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=503, json={"error": {"message": "later"}})
    with pytest.raises(errors.TransientError, match="later"):
        cancel(backend)


def test_a_run_without_a_handle_is_cancelled_by_its_open_calls_or_else_by_its_id(backend, api):
    holds(api, said(), asked())
    api.post(ITEMS, json={"data": []})
    assert cancel(backend, handle=None).code == "cancelled"
    holds(api, said())
    api.post(f"{RESPONSES}/resp_1/cancel", json=response("resp_1", "cancelled"))
    assert cancel(backend, handle=None).code == "cancelled"
    assert sent(api)[-1][0] == "/responses/resp_1/cancel"
