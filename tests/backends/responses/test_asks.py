"""What a response asks of the client besides function calls, and how open calls are closed."""

import pytest

from gpt_agent_fsm.backends.responses.asks import ENDED
from gpt_agent_fsm.ports import RunRequest, RunStatus, ToolCall, ToolOutputsRequest
from tests.backends.responses.samples import ITEMS, RESPONSES, asked, holds, said, sent, told

FOREIGN = {
    "custom_tool_call": {"call_id": "c"},
    "shell_call": {"call_id": "c"},
    "apply_patch_call": {"call_id": "c"},
    "computer_call": {"call_id": "c"},
    "local_shell_call": {"id": "c"},
}
APPROVAL = {"type": "mcp_approval_request", "id": "c", "name": "search", "arguments": '{"q":1}', "server_label": "docs"}


@pytest.mark.parametrize("kind", FOREIGN)
def test_requests_that_the_library_cannot_answer_are_named_and_closed_in_their_own_way(backend, api, kind):
    item = {"type": kind, "name": "f", **FOREIGN[kind]}
    api.get(f"{RESPONSES}/resp_1", json={"id": "resp_1", "status": "completed", "output": [item]})
    run = backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5)
    assert (run.status, run.tool_calls) == (RunStatus.NEEDS_TOOLS, ())
    assert f"it waits for {kind}," in run.unsupported
    closes(backend, api, item, kind)


def closes(backend, api, item, kind):
    """A cancel answers the item, so that the conversation can continue."""
    holds(api, said(), item)
    api.post(f"{RESPONSES}/resp_1/cancel", status_code=400, json={"error": {"message": "Cannot cancel"}})
    api.post(ITEMS, json={"data": []})
    run = backend.cancel_run("conv_1", "resp_1", handle="resp_1", timeout=5)
    assert (run.status, run.code) == (RunStatus.FAILED, "cancelled")
    ((closing,),) = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    answered = closing.get("call_id") or closing.get("approval_request_id") or closing["id"]
    assert answered == "c"
    assert closing["type"] == ("mcp_approval_response" if "mcp" in kind else f"{kind}_output")


def test_tools_that_the_server_runs_by_itself_ask_nothing(backend, api):
    output = [
        {"type": kind, "id": "x"} for kind in ("web_search_call", "mcp_call", "image_generation_call", "reasoning")
    ]
    api.get(f"{RESPONSES}/resp_1", json={"id": "resp_1", "status": "completed", "output": output})
    assert backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5).status is RunStatus.COMPLETED


def test_a_cancel_that_the_server_takes_for_a_completed_response_still_closes_its_calls(backend, api):
    holds(api, said(), asked("call_1"))
    output = [{"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}]
    api.post(f"{RESPONSES}/resp_1/cancel", json={"id": "resp_1", "status": "cancelled", "output": output})
    api.post(ITEMS, json={"data": []})
    backend.cancel_run("conv_1", "resp_1", handle="resp_1", timeout=5)
    assert [[item["call_id"] for item in body["items"]] for path, body in sent(api) if path.endswith("/items")] == [
        ["call_1"]
    ]


def test_a_run_without_a_handle_that_was_ended_before_is_cancelled_and_not_completed(backend, api):
    holds(api, said(), asked("call_1"), told("call_1", ENDED))
    for run in (
        backend.cancel_run("conv_1", "fc_1", timeout=5),
        backend.get_run("conv_1", "fc_1", timeout=5),
    ):
        assert (run.status, run.code) == (RunStatus.FAILED, "cancelled")
    assert sent(api) == []


# --- approvals of calls that the server makes itself ---------------------------------------------------


def test_a_call_of_the_server_waits_for_an_approval(backend, api):
    api.get(f"{RESPONSES}/resp_1", json={"id": "resp_1", "status": "completed", "output": [APPROVAL]})
    run = backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5)
    assert run.status is RunStatus.NEEDS_TOOLS
    assert run.tool_calls == (ToolCall(id="c", name="search", arguments='{"q":1}', by_server=True),)
    assert run.unsupported == ""


def test_a_cancelled_approval_is_refused(backend, api):
    api.get(f"{RESPONSES}/resp_1", json={"id": "resp_1", "status": "completed", "output": [APPROVAL]})
    closes(backend, api, APPROVAL, "mcp_approval_request")


def test_decisions_are_sent_beside_outputs(backend, api):
    api.post(RESPONSES, json={"id": "resp_2", "status": "queued"})
    request = ToolOutputsRequest(
        thread_id="conv_1",
        run_id="resp_1",
        outputs=(("d", "1"),),
        assistant_id="asst_1",
        decisions=(("c", '{"approve": true}'), ("e", '{"approve": false, "reason": "no"}')),
    )
    backend.submit_tool_outputs(request, timeout=5)
    (body,) = [body for path, body in sent(api) if path == "/responses"]
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "d", "output": "1"},
        {"type": "mcp_approval_response", "approval_request_id": "c", "approve": True},
        {"type": "mcp_approval_response", "approval_request_id": "e", "approve": False, "reason": "no"},
    ]


def test_decisions_are_given_again_to_the_run_that_replaces_a_rate_limited_one(backend, api):
    answers = [
        {"type": "mcp_approval_response", "id": "r", "approval_request_id": "c", "approve": False, "reason": "no"},
        {"type": "function_call_output", "id": "o", "call_id": "d", "output": "1"},
    ]
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": answers})
    holds(api, said(), APPROVAL, asked("d"))
    api.post(RESPONSES, json={"id": "resp_2", "status": "queued"})
    request = RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_1")
    backend.create_run(request, timeout=5)
    (body,) = [body for path, body in sent(api) if path == "/responses"]
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "d", "output": "1"},
        {"type": "mcp_approval_response", "approval_request_id": "c", "approve": False, "reason": "no"},
    ]
