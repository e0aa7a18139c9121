"""The status of a run, by its response and by its conversation."""

import json

import pytest

from gpt_agent_fsm import Citation, Image, Text, errors
from gpt_agent_fsm.machine.objects import Message, Run, ToolCall, Usage
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.backends.responses.samples import (
    ANSWER,
    CALL,
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

# --- polling a run --------------------------------------------------------------------------------------------------


def test_a_completed_response_with_calls_needs_tools(backend, api):
    run = poll(backend, api, response("resp_1", "completed", asked(), ANSWER))
    assert (run.status, run.tool_calls) == (RunStatus.NEEDS_TOOLS, (CALL,))
    assert [message.content for message in run.messages] == ["Hi"], "the words before the calls"


def test_a_completed_response_contains_its_answer(backend, api):
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    seen = response("resp_1", "completed", {"type": "reasoning", "id": "rs_1"}, ANSWER, usage=usage)
    run = poll(backend, api, seen)
    assert run == Run(
        id="resp_1",
        status=RunStatus.COMPLETED,
        usage=Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        handle="resp_1",
        messages=(Message(id="msg_2", role="assistant", content="Hi", run_id="resp_1"),),
    )


def test_an_image_that_the_model_has_made_is_a_message(backend, api):
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AHBuZw=="}
    run = poll(backend, api, response("resp_1", "completed", made))
    (message,) = run.messages
    assert (message.id, message.role, message.content) == ("ig_1", "assistant", "")
    assert message.parts == (Image(data=b"\x00png"),)
    holds(api, said(), made)
    listed = backend.list_messages("conv_1", after=None, newest_first=False, timeout=5).messages
    assert listed[-1].parts == message.parts


def test_the_tools_that_the_server_has_run_are_reported(backend, api):
    items = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "Oslo"}},
        {"type": "file_search_call", "id": "fs_1", "status": "searching", "queries": ["Oslo"]},
        {"type": "code_interpreter_call", "id": "ci_1", "status": "failed", "code": "1/0", "outputs": None},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "f", "arguments": "{}", "output": "1"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AHBuZw=="},
        {"type": "web_search_call", "status": "completed"},
    ]
    used = poll(backend, api, response("resp_1", "completed", *items)).hosted_tools
    assert [(each.kind, each.id, json.loads(each.details)) for each in used] == [
        ("web_search", "ws_1", {"status": "completed", "action": {"type": "search", "query": "Oslo"}}),
        ("code_interpreter", "ci_1", {"status": "failed", "code": "1/0", "outputs": None}),
        ("mcp", "mcp_1", {"server_label": "s", "name": "f", "arguments": "{}", "output": "1"}),
        ("image_generation", "ig_1", {"status": "completed"}),
    ]


def thought(*texts):
    return {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": text} for text in texts]}


def test_an_answer_has_the_summary_of_the_reasoning_that_led_to_it(backend, api):
    used = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    run = poll(backend, api, response("resp_1", "completed", thought("One", "Two"), used, thought("Three"), ANSWER))
    assert [message.reasoning for message in run.messages] == ["One\n\nTwo\n\nThree"]
    for newest_first in (False, True):
        holds(api, said(), thought("One"), ANSWER)
        listed = backend.list_messages("conv_1", after=None, newest_first=newest_first, timeout=5).messages
        assert sorted((each.role, each.reasoning) for each in listed) == [("assistant", "One"), ("user", None)]


def test_an_image_does_not_take_the_reasoning_of_the_text(backend, api):
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AHBuZw=="}
    run = poll(backend, api, response("resp_1", "completed", thought("One"), made, ANSWER))
    assert [message.reasoning for message in run.messages] == [None, "One"]


def test_the_reasoning_before_a_tool_call_is_not_that_of_the_answer(backend, api):
    holds(api, said(), thought("I call it."), asked(), told(), thought("I say it."), ANSWER)
    listed = backend.list_messages("conv_1", after=None, newest_first=False, timeout=5).messages
    assert listed[-1].reasoning == "I say it."


def test_an_answer_has_the_sources_of_its_text(backend, api):
    source = {"type": "url_citation", "url": "https://e.com", "title": "E", "start_index": 0, "end_index": 2}
    content = [{"type": "output_text", "text": "Hi", "annotations": [source]}]
    answer = {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed", "content": content}
    (message,) = poll(backend, api, response("resp_1", "completed", answer)).messages
    (text,) = message.parts
    assert text == Text("Hi", annotations=(Citation(start=0, end=2, url="https://e.com", title="E"),))


def test_a_later_link_of_the_chain_has_the_id_of_the_run_and_counts_earlier_tokens(backend, api):
    metadata = {"gpt_agent_fsm_run": "resp_1", "gpt_agent_fsm_usage": "3/4/7", "gpt_agent_fsm_assistant": "asst_1"}
    usage = {"input_tokens": 10, "output_tokens": 20}
    run = poll(backend, api, response("resp_2", "completed", ANSWER, metadata=metadata, usage=usage))
    assert (run.id, run.handle, run.assistant_id) == ("resp_1", "resp_2", "asst_1")
    assert run.usage == Usage(prompt_tokens=13, completion_tokens=24, total_tokens=37)


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("queued", {}, (RunStatus.ACTIVE, "", "")),
        ("in_progress", {}, (RunStatus.ACTIVE, "", "")),
        (None, {}, (RunStatus.ACTIVE, "", "")),
        (None, {"output": [ANSWER]}, (RunStatus.COMPLETED, "", "")),
        (None, {"error": {"code": "x", "message": "y"}}, (RunStatus.FAILED, "x", "y")),
        ("cooling", {}, (RunStatus.ACTIVE, "", "")),
        ("cooling", {"error": {"code": "x", "message": "y"}}, (RunStatus.FAILED, "x", "y")),
        (
            "failed",
            {"error": {"code": "server_error", "message": "Sorry"}},
            (RunStatus.FAILED, "server_error", "Sorry"),
        ),
        ("failed", {"error": "Sorry"}, (RunStatus.FAILED, "failed", "Sorry")),
        (
            "failed",
            {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for m"}},
            (RunStatus.RATE_LIMITED, "rate_limit_exceeded", "Rate limit reached for m"),
        ),
        (
            "failed",
            {"error": {"code": "rate_limit_exceeded", "message": "You exceeded your current quota, ..."}},
            (RunStatus.OUT_OF_QUOTA, "rate_limit_exceeded", "You exceeded your current quota, ..."),
        ),
        ("cancelled", {}, (RunStatus.FAILED, "cancelled", "The run ended as cancelled; the server gave no message.")),
        (
            "incomplete",
            {"incomplete_details": {"reason": "max_output_tokens"}, "output": [asked()]},
            (
                RunStatus.FAILED,
                "max_output_tokens",
                "The run ended as incomplete (max_output_tokens); the server gave no message.",
            ),
        ),
    ],
)
def test_each_status_has_its_meaning(backend, api, status, fields, expected):
    run = poll(backend, api, response("resp_1", status, **fields))
    assert (run.status, run.code, run.message) == expected


def test_values_that_make_no_sense_are_left_out(backend, api):
    call = {"type": "function_call", "id": 7, "name": None, "arguments": {"x": 1}}
    odd = response("resp_1", "completed", "text", {"type": "function_call"}, call, usage=[], metadata="x", error=0)
    run = poll(backend, api, odd)
    assert run.tool_calls == (ToolCall(id="7", name="", arguments='{"x": 1}'),)
    assert run.usage == Usage()
    for lie in ("1/x/2", "1/²/3", "1/2/" + "9" * 5000, 5):
        run = poll(backend, api, response("resp_1", "completed", metadata={"gpt_agent_fsm_usage": lie}, output="none"))
        assert (run.status, run.usage) == (RunStatus.COMPLETED, Usage())
    api.get(f"{RESPONSES}/resp_1", json=[])
    with pytest.raises(errors.TransientError, match="not what the API promises"):
        backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5)


def test_the_state_of_a_run_without_a_handle_is_inferred_from_the_conversation(backend, api):
    holds(api, said(), asked("call_1"), told("call_1"), asked("call_2"))
    run = backend.get_run("conv_1", "run_1", timeout=5)
    assert (run.id, run.status, [call.id for call in run.tool_calls]) == ("run_1", RunStatus.NEEDS_TOOLS, ["call_2"])
    holds(api, said(), asked(), told(), ANSWER)
    run = backend.get_run("conv_1", "run_1", timeout=5)
    assert (run.status, run.messages[0].content, run.handle) == (RunStatus.COMPLETED, "Hi", None)


def test_a_run_that_left_no_items_is_requested_by_its_id(backend, api):
    holds(api, said())
    api.get(f"{RESPONSES}/resp_1", json=QUEUED)
    assert backend.get_run("conv_1", "resp_1", timeout=5).handle == "resp_1"
    api.get(f"{RESPONSES}/resp_1", status_code=404, json={"error": {"message": "Not found"}})
    with pytest.raises(errors.RequestRefused):
        backend.get_run("conv_1", "resp_1", timeout=5)


def test_calls_with_outputs_before_another_message_are_not_asked_again(backend, api):
    api.get(f"{RESPONSES}/resp_1", json=response("resp_1", "completed", asked()))
    holds(api, said(), asked(), said("More", "msg_3"))
    assert [call.id for call in backend.get_run("conv_1", "resp_1", timeout=5).tool_calls] == ["call_1"]
    holds(api, said(), asked(), told(), said("More", "msg_3"))
    run = backend.get_run("conv_1", "resp_1", timeout=5)
    assert (run.id, run.status, run.tool_calls) == ("resp_1", RunStatus.COMPLETED, ())


@pytest.mark.parametrize(
    ("items", "status", "calls", "handle"),
    [
        ([said(), asked()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said(), asked(), told(), ANSWER], RunStatus.COMPLETED, [], None),
        ([said(), asked(), told(), asked("call_2")], RunStatus.NEEDS_TOOLS, ["call_2"], None),
        ([said(), asked(), told(), ANSWER, said("More", "msg_3")], RunStatus.COMPLETED, [], None),
        ([said(), asked(), told()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said(), asked(), told(), ANSWER | {"status": "in_progress"}], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
    ],
    ids=[
        "still waits",
        "not listed yet",
        "continued to its end",
        "continued to other calls",
        "is long over",
        "listed and not continued yet",
        "in the middle of its answer",
    ],
)
def test_outputs_in_doubt_are_inferred_from_the_conversation(backend, api, items, status, calls, handle):
    holds(api, *items)
    run = poll(backend, api, response("resp_1", "completed", asked()), in_doubt=True)
    assert (run.status, [call.id for call in run.tool_calls], run.handle) == (status, calls, handle)


def test_a_second_start_of_a_run_is_cancelled_if_the_first_has_answered(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    api.post(f"{RESPONSES}/resp_1/cancel", json=response("resp_1", "cancelled"))
    run = poll(backend, api, QUEUED, in_doubt=True)
    assert (run.id, run.status, run.messages[0].content) == ("resp_1", RunStatus.COMPLETED, "Hi")
    assert [path for path, _ in sent(api)] == ["/responses/resp_1/cancel"]


@pytest.mark.parametrize(
    ("left", "status"),
    [("in_progress", RunStatus.ACTIVE), ("queued", RunStatus.ACTIVE), ("completed", RunStatus.COMPLETED)],
)
def test_a_second_start_that_the_server_does_not_cancel_is_followed_to_its_end(backend, api, left, status):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    api.post(f"{RESPONSES}/resp_1/cancel", json=response("resp_1", left))
    run = poll(backend, api, QUEUED, in_doubt=True)
    assert (run.id, run.status, run.handle) == ("resp_1", status, "resp_1")


def test_messages_of_a_run_itself_are_not_taken_for_those_of_another(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    run = poll(backend, api, response("resp_1", "in_progress", ANSWER), in_doubt=True)
    assert (run.status, sent(api)) == (RunStatus.ACTIVE, [])


def test_a_run_that_was_started_once_after_all_continues(backend, api):
    holds(api, said())
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    assert poll(backend, api, QUEUED, in_doubt=True).status is RunStatus.ACTIVE
    assert sent(api) == []


def test_a_second_run_that_can_no_longer_be_cancelled_is_followed(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    api.post(f"{RESPONSES}/resp_1/cancel", status_code=400, json={"error": {"message": "completed"}})
    run = poll(backend, api, QUEUED, in_doubt=True)
    assert (run.status, run.handle) == (RunStatus.ACTIVE, "resp_1")
