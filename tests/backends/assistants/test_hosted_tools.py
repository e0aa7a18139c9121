"""The uses of tools that the server has run itself are read from the steps of an ended run."""

import json

import pytest

from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.machine.run_status import RunStatus

RUNS = "http://api.test/v1/threads/thread_1/runs/run_1"
HOSTED = [{"type": "function", "function": {"name": "f"}}, {"type": "code_interpreter"}]
RUN = {"id": "run_1", "status": "completed", "tools": HOSTED}
CODE = {"id": "call_1", "type": "code_interpreter", "code_interpreter": {"input": "6*7", "outputs": []}}


def step(number, *calls, **details):
    return {"id": f"step_{number}", "step_details": {"type": "tool_calls", "tool_calls": list(calls), **details}}


@pytest.fixture
def poll(backend, requests_mock):
    def get(run=RUN, **steps):
        requests_mock.get(RUNS, json=run)
        if steps:
            requests_mock.get(f"{RUNS}/steps", **steps)
        return backend.get_run("thread_1", "run_1", timeout=5)

    return get


def test_the_calls_of_all_pages_are_reported_but_not_those_of_functions(poll, requests_mock):
    search = {"id": "call_2", "type": "file_search", "file_search": {"results": []}}
    bing = {"id": "call_3", "type": "bing_grounding", "query": "Oslo"}
    function = {"id": "call_4", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    first = {"data": [step(1, CODE, function), {"id": "step_2", "step_details": {"type": "message_creation"}}]}
    second = {"data": [step(3, search, bing, {"type": "mcp"}, {"id": "call_5", "type": "mcp", "approved": False})]}
    pages = [{"json": first | {"has_more": True}}, {"json": second | {"has_more": False}}]
    used = poll(response_list=pages).hosted_tools
    assert [(each.kind, each.id, json.loads(each.details)) for each in used] == [
        ("code_interpreter", "call_1", {"input": "6*7", "outputs": []}),
        ("file_search", "call_2", {"results": []}),
        ("bing_grounding", "call_3", {"query": "Oslo"}),
    ]
    assert [request.qs.get("after") for request in requests_mock.request_history[1:]] == [None, ["step_2"]]


@pytest.mark.parametrize(
    "run",
    [
        RUN | {"status": "in_progress"},
        RUN | {"status": "cancelling"},
        RUN | {"tools": HOSTED[:1]},
        RUN | {"tools": None},
        {"id": "run_1", "status": "completed"},
    ],
)
def test_the_steps_are_read_only_if_a_run_has_ended_and_may_have_used_such_tools(poll, requests_mock, run):
    assert poll(run).hosted_tools == ()
    assert requests_mock.call_count == 1


def test_a_server_without_steps_does_not_hold_up_the_answer(poll):
    run = poll(status_code=404, json={"error": {"message": "No such route"}})
    assert (run.status, run.hosted_tools) == (RunStatus.COMPLETED, ())


def test_steps_that_fail_for_a_moment_are_read_at_the_next_poll(poll):
    with pytest.raises(TransientError):
        poll(status_code=503, json={"error": {"message": "Sorry"}})
    assert [each.id for each in poll(json={"data": [step(1, CODE)]}).hosted_tools] == ["call_1"]
    for _ in range(2):
        with pytest.raises(TransientError):
            poll(status_code=503, json={"error": {"message": "Sorry"}})


def test_steps_that_keep_failing_do_not_hold_up_the_answer(poll, caplog):
    for _ in range(2):
        with pytest.raises(TransientError):
            poll(status_code=503, json={"error": {"message": "Sorry"}})
    assert poll(status_code=503, json={"error": {"message": "Sorry"}}).status is RunStatus.COMPLETED
    assert "its steps cannot be read" in caplog.text
