"""The reading of runs and messages that differ from the documentation."""

import json

import pytest

from gpt_agent_fsm import Image, Text
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import RunRequest

BASE = "http://api.test/v1"
THREAD = f"{BASE}/threads/t"


@pytest.fixture
def run(backend, requests_mock):
    """Return the run that is made of these fields."""

    def read(**fields):
        requests_mock.get(f"{THREAD}/runs/r", content=json.dumps({"id": "r", "status": "failed"} | fields).encode())
        return backend.get_run("t", "r", timeout=5)

    return read


@pytest.fixture
def page(backend, requests_mock):
    """Return the page that is made of this body."""

    def read(body):
        requests_mock.get(f"{THREAD}/messages", content=json.dumps(body).encode())
        return backend.list_messages("t", after=None, newest_first=False, timeout=5)

    return read


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("queued", RunStatus.ACTIVE),
        ("in_progress", RunStatus.ACTIVE),
        ("cancelling", RunStatus.CANCELLING),
        ("completed", RunStatus.COMPLETED),
        ("failed", RunStatus.FAILED),
        ("cancelled", RunStatus.FAILED),
        ("incomplete", RunStatus.FAILED),
        ("expired", RunStatus.FAILED),
        ("", RunStatus.ACTIVE),
        (None, RunStatus.ACTIVE),
        (7, RunStatus.ACTIVE),
        (" Completed ", RunStatus.COMPLETED),
        ("IN_PROGRESS", RunStatus.ACTIVE),
        ("thinking", RunStatus.ACTIVE),
        ("not_in_queue", RunStatus.ACTIVE),
        ("paused_in_progress", RunStatus.ACTIVE),
        ("rejected", RunStatus.FAILED),
        ("done", RunStatus.FAILED),
    ],
)
def test_a_missing_or_unknown_status_is_read(run, status, meaning):
    assert run(status=status).status is meaning


def test_a_run_without_a_status_counts_as_queued(backend, requests_mock):
    requests_mock.post(f"{THREAD}/runs", json={"id": "r"})
    assert (
        backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=5).status is RunStatus.ACTIVE
    )


def default_end_message(status):
    return f"The run ended as {status}; the server gave no message."


@pytest.mark.parametrize("field", ["last_error", "incomplete_details"])
def test_an_unknown_status_with_an_error_is_final(run, field):
    assert run(status="thinking", **{field: {"reason": "x", "message": "M"}}).status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("fields", "status", "code", "message"),
    [
        ({"last_error": {"code": "server_error", "message": "Sorry."}}, RunStatus.FAILED, "server_error", "Sorry."),
        (
            {"last_error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt"}},
            RunStatus.RATE_LIMITED,
            "rate_limit_exceeded",
            "Rate limit reached for gpt",
        ),
        (
            {"last_error": {"code": "rate_limit_exceeded", "message": "You exceeded your current quota, please"}},
            RunStatus.OUT_OF_QUOTA,
            "rate_limit_exceeded",
            "You exceeded your current quota, please",
        ),
        (
            {"last_error": {"code": "insufficient_quota", "message": None}},
            RunStatus.OUT_OF_QUOTA,
            "insufficient_quota",
            default_end_message("failed"),
        ),
        ({"last_error": " It broke. "}, RunStatus.FAILED, "failed", "It broke."),
        ({"last_error": None}, RunStatus.FAILED, "failed", default_end_message("failed")),
        ({"last_error": 3}, RunStatus.FAILED, "failed", default_end_message("failed")),
        ({"last_error": {"code": 3, "message": []}}, RunStatus.FAILED, "failed", default_end_message("failed")),
        ({"last_error": {"code": " ", "message": " "}}, RunStatus.FAILED, "failed", default_end_message("failed")),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_prompt_tokens"}},
            RunStatus.FAILED,
            "max_prompt_tokens",
            default_end_message("incomplete (max_prompt_tokens)"),
        ),
        (
            {"status": "incomplete", "incomplete_details": "long"},
            RunStatus.FAILED,
            "incomplete",
            default_end_message("incomplete"),
        ),
        ({"status": "expired"}, RunStatus.FAILED, "expired", default_end_message("expired")),
        ({"status": "cancelled"}, RunStatus.FAILED, "cancelled", default_end_message("cancelled")),
        ({"status": "completed", "last_error": "x"}, RunStatus.COMPLETED, "", ""),
        ({"status": "queued", "last_error": "x"}, RunStatus.ACTIVE, "", ""),
    ],
)
def test_the_reason_why_a_run_ended_is_never_blank(run, fields, status, code, message):
    seen = run(**fields)
    assert (seen.status, seen.code, seen.message) == (status, code, message)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (0, 0, 0)),
        ("many", (0, 0, 0)),
        ([], (0, 0, 0)),
        ({}, (0, 0, 0)),
        ({"prompt_tokens": 1.0, "completion_tokens": "2", "total_tokens": None}, (1, 0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": True, "total_tokens": 3.7}, (0, 0, 3)),
        ({"prompt_tokens": 10**400, "completion_tokens": 2, "total_tokens": 10**30}, (0, 2, 0)),
    ],
)
def test_token_counts_are_whole_numbers_or_0(run, usage, counts):
    seen = run(usage=usage).usage
    assert (seen.prompt_tokens, seen.completion_tokens, seen.total_tokens) == counts
    assert all(type(count) is int for count in counts)


@pytest.mark.parametrize("odd", [None, "x", [], 7, {"gpt_agent_fsm_key": None}, {"gpt_agent_fsm_key": 3}])
def test_metadata_of_another_shape_holds_no_key(run, odd):
    assert run(metadata=odd).key is None


def test_fields_of_other_types_are_taken_as_absent(run):
    seen = run(id=12, assistant_id=["a"], required_action="do", created_at="yesterday", tools=None)
    assert (seen.id, seen.assistant_id, seen.tool_calls) == ("12", None, ())
    assert run(assistant_id="").assistant_id is None
    assert run(assistant_id=5).assistant_id == "5"


def required(*calls):
    return {"status": "requires_action", "required_action": {"submit_tool_outputs": {"tool_calls": list(calls)}}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [("{", "{"), ("", ""), (None, "{}"), ({"a": ["ü"]}, '{"a": ["\\u00fc"]}'), ({}, "{}"), ([], "{}"), ([1], "[1]")],
)
def test_arguments_are_text_even_if_the_server_sends_an_object(run, arguments, text):
    calls = run(**required({"id": "c", "function": {"name": "f", "arguments": arguments}})).tool_calls
    assert calls == (ToolCall(id="c", name="f", arguments=text),)


def test_tool_calls_that_cannot_be_answered_are_left_out(run):
    odd = [None, "x", {"function": {"name": "f"}}, {"id": "", "function": {}}, {"id": "c1"}, {"id": 2, "function": "f"}]
    assert run(**required(*odd)).tool_calls == (
        ToolCall(id="c1", name="", arguments="{}"),
        ToolCall(id="2", name="", arguments="{}"),
    )


@pytest.mark.parametrize(
    "action", [None, {}, "x", {"submit_tool_outputs": None}, {"submit_tool_outputs": {"tool_calls": {}}}]
)
def test_a_run_that_needs_tools_but_names_none_is_reported_unchanged(backend, requests_mock, action):
    answer = {"id": "r", "status": "requires_action", "required_action": action}
    requests_mock.get(f"{THREAD}/runs/r", json=answer)
    requests_mock.post(f"{THREAD}/runs", json=answer)
    for found in (
        backend.get_run("t", "r", timeout=5),
        backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=5),
    ):
        assert (found.status, found.tool_calls, found.unsupported) == (RunStatus.NEEDS_TOOLS, (), "")


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ({"type": "something_new"}, "something_new"),
        (required({"id": "c", "type": "mcp"})["required_action"], "type mcp"),
        (required({"id": "c", "type": "mcp"}, {"id": "d", "type": "browser"})["required_action"], "browser and mcp"),
    ],
)
def test_a_run_that_waits_for_something_other_than_functions_says_so(run, action, named):
    found = run(status="requires_action", required_action=action)
    assert named in found.unsupported
    assert found.tool_calls == ()


def test_calls_of_functions_beside_others_are_read(run):
    found = run(**required({"id": "c", "type": "function", "function": {"name": "f"}}, {"id": "d", "type": "mcp"}))
    assert [call.id for call in found.tool_calls] == ["c"]
    assert "mcp" in found.unsupported


def test_runs_may_come_as_a_bare_list_and_ones_without_an_id_are_left_out(backend, requests_mock):
    requests_mock.get(f"{THREAD}/runs", json=[{"id": "r"}, {"id": None}, None, "x", {"status": "queued"}, {"id": {}}])
    assert [run.id for run in backend.list_runs("t", limit=5, timeout=5).runs] == ["r"]


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([], ""),
        ("plain", "plain"),
        ({"text": "x"}, ""),
        ([{"type": "text", "text": {"value": "a"}}, {"type": "text", "text": {"value": "b"}}], "a\nb"),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"text": {"value": "a"}}], "a"),
        ([{"type": "text", "text": {"value": None}}, {"type": "text"}, None, "x"], ""),
        ([{"type": "image_file", "image_file": {}}, {"type": "text", "text": {"value": "a"}}], "a"),
        ([{"type": "refusal", "refusal": "no", "text": "x"}], ""),
        ([{"type": "text", "text": {"value": ""}}, {"type": "text", "text": {"value": "a"}}], "a"),
    ],
)
def test_the_text_of_a_message_is_its_text_parts(page, content, text):
    assert page({"data": [{"id": "m", "content": content}]}).messages[0].content == text


def test_a_message_has_its_images_beside_its_text(page):
    content = [{"type": "image_file", "image_file": {"file_id": "file_1"}}, {"type": "text", "text": {"value": "a"}}]
    message = page({"data": [{"id": "m", "role": "assistant", "content": content}]}).messages[0]
    assert (message.content, message.parts) == ("a", (Image(file_id="file_1"), Text("a")))


def test_a_message_with_null_everywhere_is_read(page):
    names = ("role", "content", "run_id", "assistant_id", "metadata", "created_at")
    message = page({"data": [{"id": 5} | dict.fromkeys(names)]}).messages[0]
    assert (message.id, message.role, message.content) == ("5", "", "")
    assert message.run_id is message.assistant_id is message.key is message.created_at is None


@pytest.mark.parametrize(
    ("created_at", "seconds"), [(1, 1.0), (1.25, 1.25), ("1", None), (True, None), (None, None), (float("nan"), None)]
)
def test_timestamps_are_numbers_or_absent(page, created_at, seconds):
    assert page({"data": [{"id": "m", "created_at": created_at}]}).messages[0].created_at == seconds


def test_duplicate_items_are_kept_and_items_without_an_id_are_dropped(page):
    data = [{"id": "a"}, {"id": "a"}, {"role": "user"}, None, {"id": ""}, {"id": " "}, {"id": 1.5}, {"id": "b"}]
    assert [message.id for message in page({"data": data}).messages] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("body", "next_after"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "x"}, "b"),
        ({"data": [{"id": "a"}], "has_more": False}, None),
        ({"data": [{"id": "a"}]}, "a"),
        ({"data": [{"id": "a"}], "has_more": None}, "a"),
        ({"data": [{"id": "a"}], "has_more": "false"}, "a"),
        ({"data": [], "has_more": True}, None),
        ({"data": [{"id": str(i)} for i in range(100)]}, "99"),
        ({"data": [{"id": str(i)} for i in range(100)], "has_more": False}, None),
        ([{"id": "a"}], "a"),
    ],
)
def test_the_next_page_is_requested_if_there_may_be_one(page, body, next_after):
    assert page(body).next_after == next_after


APPROVAL = {"id": "c", "type": "mcp", "name": "search", "arguments": '{"q":1}', "server_label": "docs"}


def test_a_call_that_the_server_makes_itself_waits_for_an_approval(run):
    action = {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": [APPROVAL]}}
    found = run(status="requires_action", required_action=action)
    assert found.tool_calls == (ToolCall(id="c", name="search", arguments='{"q":1}', by_server=True),)
    assert found.unsupported == ""
