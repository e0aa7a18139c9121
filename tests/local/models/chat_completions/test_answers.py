"""Reading an answer that comes in one piece."""

import pytest

from gpt_agent_fsm.local import (
    Reply,
    ToolCall,
    Usage,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    call,
    completion,
    say,
    stream,
)
from tests.local.models.chat_completions.questions import USAGE, request, streamed


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": " Hi.\n"}, " Hi.\n"),
        ({"content": None}, ""),
        ({}, ""),
        (
            {"content": [{"type": "text", "text": "Hi"}, {"type": "thinking"}, "?", {"type": "text", "text": "."}]},
            "Hi?.",
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": None, "refusal": "I cannot help with that."}, "I cannot help with that."),
        ({"content": "Hi.", "reasoning_content": "Hm.", "tool_calls": None, "refusal": None}, "Hi."),
    ],
)
def test_the_answer_is_the_text_or_the_refusal_of_the_message(serve, message, text):
    _, model = serve(completion(message))
    assert model(request()) == Reply(text)


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{"a": ', '{"a": '),
        ({"a": "é"}, '{"a":"é"}'),
        (None, "{}"),
        ("", "{}"),
    ],
)
def test_the_arguments_of_a_tool_call_are_text_broken_or_not(serve, given, arguments):
    _, model = serve(call({"name": "add", "arguments": given}))
    assert model(request()) == Reply(calls=(ToolCall("add", arguments),))


def test_tool_calls_may_have_no_ids_or_equal_ids_and_text_before_them(serve):
    calls = [
        {"function": {"name": "a"}},
        {"id": "1", "function": {"name": "b"}},
        {"id": "1", "function": {"name": "c"}},
    ]
    _, model = serve(completion({"content": "Let me see.", "tool_calls": calls}, "tool_calls"))
    assert model(request()) == Reply("Let me see.", (ToolCall("a", "{}"), ToolCall("b", "{}"), ToolCall("c", "{}")))


@pytest.mark.parametrize(
    ("finish", "incomplete"),
    [
        ("length", "max_completion_tokens"),
        ("model_length", "max_completion_tokens"),
        ("content_filter", "content_filter"),
        ("stop", None),
        (None, None),
        ("eos", None),
    ],
)
def test_an_answer_that_ends_too_soon_says_why(serve, ask, finish, incomplete):
    _, model = serve(
        stream("Once", finish=finish or "") if ask is streamed else completion({"content": "Once"}, finish)
    )
    assert ask(model, request()) == Reply("Once", incomplete=incomplete)


def test_tool_calls_that_were_cut_off_are_left_out(serve):
    calls = [{"id": "1", "function": {"name": "add", "arguments": '{"a":'}}]
    _, model = serve(completion({"content": "Hm.", "tool_calls": calls}, "length"))
    assert model(request()) == Reply("Hm.", incomplete="max_completion_tokens")


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (USAGE, Usage(7, 2)),
        (None, None),
        ({}, None),
        ({"prompt_tokens": 7, "completion_tokens": None}, None),
        ("much", None),
    ],
)
def test_the_usage_is_what_the_server_reports(serve, reported, usage):
    _, model = serve(say("Hi.", usage=reported))
    assert model(request()).usage == usage


def test_usage_adds_up_in_the_form_that_runs_keep():
    assert Usage(7, 2).as_dict() == USAGE
