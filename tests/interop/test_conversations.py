"""Whole conversations of our runtime with servers that others have written, over loopback."""

from __future__ import annotations

import pytest

from gpt_agent_fsm.errors import InvalidThreadId
from gpt_agent_fsm.events import (
    AssistantMessageAdded,
    RequestFailed,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolCallOutputRecorded,
    ToolCallRequested,
    UserMessageAdded,
)
from tests.interop.servers import BACKGROUND, OGX
from tests.interop.upstream import TOOL, Shown

IN_OSLO = "How warm is it in Oslo?"
CALLED = [Shown("user", IN_OSLO), Shown("call", '{"city": "Oslo"}'), Shown("output", '{"celsius":21}')]
ANSWER = "It is 21 degrees in Oslo."


def kinds(events):
    return [type(event) for event in events]


def test_a_tool_is_called_and_its_output_is_what_the_answer_says(connect, running):
    client = connect()
    client.agent.add_user_message(IN_OSLO)
    announced = client.settled()
    assert kinds(announced) == [
        UserMessageAdded,
        RunStarted,
        ToolCallRequested,
        ToolCallOutputRecorded,
        RunCompleted,
        AssistantMessageAdded,
    ]
    asked, answered = announced[2], announced[-1]
    assert (asked.name, asked.arguments) == (TOOL, {"city": "Oslo"})
    assert answered.content == ANSWER
    assert announced[-2].total_tokens == 24
    assert [*running.upstream.shown[-1]] == CALLED


def test_a_second_message_is_answered_with_the_first_in_mind(connect, running, request):
    if running.server is OGX:
        reason = "OGX shows the model no message that was posted after the first response"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    client = connect()
    client.agent.add_user_message(IN_OSLO)
    client.settled()
    client.agent.add_user_message("Thank you!")
    announced = client.settled()
    assert kinds(announced) == [UserMessageAdded, RunStarted, RunCompleted, AssistantMessageAdded]
    assert announced[-1].content == f"You have said: {IN_OSLO} Thank you!"
    assert [*running.upstream.shown[-1]] == [*CALLED, Shown("assistant", ANSWER), Shown("user", "Thank you!")]


def test_a_run_is_followed_in_the_background(connect):
    client = connect(assistant_id=BACKGROUND)
    client.agent.add_user_message(IN_OSLO)
    ended = client.first(RunCompleted, RunFailed)
    if isinstance(ended, RunFailed) and "no corresponding function_call" in ended.message:
        pytest.xfail("OGX was given the output of a call before it had written down that call")
    assert client.settled()[-1].content == ANSWER


def test_a_program_that_knows_only_the_thread_answers_the_call(connect):
    client = connect(answers=False)
    client.agent.add_user_message(IN_OSLO)
    asked = client.first(ToolCallRequested)
    client.runtime.close()
    announced = connect(client.agent.thread_id).settled()
    assert kinds(announced) == [ToolCallRequested, ToolCallOutputRecorded, RunCompleted, AssistantMessageAdded]
    assert announced[0] == asked
    assert announced[-1].content == ANSWER


def test_a_run_that_waits_for_a_tool_is_cancelled(connect):
    client = connect(answers=False)
    client.agent.add_user_message(IN_OSLO)
    client.first(ToolCallRequested)
    client.agent.cancel_run()
    ended = client.first(RunFailed, RequestFailed)
    assert isinstance(ended, RunFailed)
    assert ended.code == "cancelled"


def test_a_thread_that_does_not_exist_is_named(connect):
    with pytest.raises(InvalidThreadId, match="knows no thread 'conv_0"):
        connect(f"conv_{'0' * 48}")
