import threading

import pytest

from gpt_agent_fsm.local import ModelError, ModelRequest, ToolCall
from gpt_agent_fsm.local.models import ask, echo, estimated_usage

REQUEST = ModelRequest("Be kind.", [{"role": "user", "content": "Hello"}], [], "gpt")


def returning(value):
    return ask(lambda _request: value, REQUEST)


def test_echo_answers_with_a_sentence_that_contains_the_users_last_message():
    messages = [{"role": "user", "content": text} for text in ("one", "two")]
    assert echo(ModelRequest("", messages, [], "gpt")) == "You said: two"


def test_the_users_message_is_empty_when_nobody_has_said_anything():
    assert ModelRequest("", [{"role": "assistant", "content": "Hi"}], [], "gpt").user_message == ""


def test_outputs_are_the_contents_of_the_tool_messages_in_order():
    messages = [{"role": "user", "content": "go"}] + [{"role": "tool", "content": text} for text in ("1", "2")]
    assert ModelRequest("", messages, [], "gpt").outputs == ["1", "2"]


def test_a_request_and_a_tool_call_are_frozen():
    with pytest.raises(AttributeError):
        REQUEST.model = "other"
    with pytest.raises(AttributeError):
        ToolCall("a", {}).name = "b"


def test_requests_are_equal_when_they_ask_the_same():
    assert ModelRequest("a", [], [], "m") == ModelRequest("a", [], [], "m", cancelled=threading.Event())


def test_an_answer_is_passed_on_as_it_is():
    assert returning("Fine.") == "Fine."


def test_a_model_error_says_its_code_and_message():
    assert str(ModelError("server_error", "It broke.")) == "server_error: It broke."


def test_arguments_become_json_text_and_text_stays_what_it_is():
    assert returning([ToolCall("a", {"x": [1, "é"]}), ToolCall("b", "{broken"), ToolCall("c")]) == [
        ToolCall("a", '{"x":[1,"é"]}'),
        ToolCall("b", "{broken"),
        ToolCall("c", "{}"),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "a NoneType"),
        (7, "a int"),
        ([], "an empty one"),
        (["text"], "a list"),
        ({"role": "assistant"}, "a dict"),
    ],
)
def test_a_model_that_returns_something_else_is_told_what_it_has_to_return(value, words):
    outcome = returning(value)
    assert outcome.code == "server_error"
    assert "has to return a str or a list of at least one ToolCall" in outcome.message
    assert words in outcome.message


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall(" ", {}), "has to have a name"),
        (ToolCall(7, {}), "has to have a name"),
        (ToolCall("a", [1]), "have to be a dict or a str"),
        (ToolCall("a", {"x": object()}), "cannot be written as JSON"),
        (ToolCall("a", {"x": "\ud800"}), "cannot be written as JSON"),
    ],
)
def test_a_tool_call_that_cannot_be_sent_fails_the_run_with_the_reason(call, words):
    outcome = returning([call])
    assert outcome.code == "server_error"
    assert words in outcome.message


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_a_model_raises_is_a_server_error_without_its_details(error, caplog):
    def model(_request):
        raise error

    outcome = ask(model, REQUEST)
    assert (outcome.code, outcome.message) == ("server_error", f"The model raised {type(error).__name__}.")
    assert type(error).__name__ in caplog.text


def test_text_that_no_utf8_can_hold_is_replaced():
    def model(_request):
        raise ModelError("a\ud800", "b\ud800")

    assert returning("x\ud800") == "x?"
    assert returning([ToolCall("n", "\udfff")]) == [ToolCall("n", "?")]
    outcome = ask(model, REQUEST)
    assert (outcome.code, outcome.message) == ("a?", "b?")


def test_usage_is_above_zero_also_for_nothing_at_all_and_adds_up():
    usage = estimated_usage(ModelRequest("", [], [], "gpt"), "")
    assert usage == {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    longer = estimated_usage(ModelRequest("", [{"role": "user", "content": "x" * 400}], [], "gpt"), "y" * 40)
    assert longer == {"prompt_tokens": 101, "completion_tokens": 11, "total_tokens": 112}
