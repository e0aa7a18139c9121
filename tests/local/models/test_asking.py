import logging
import threading

import pytest

from gpt_agent_fsm.local import ModelError, ModelRequest, Reply, StreamingModel, ToolCall, Usage
from gpt_agent_fsm.local.models.asking import ask
from gpt_agent_fsm.local.models.echo import echo
from gpt_agent_fsm.local.models.tokens import cut, usage
from tests.local.stand_ins import Speaker

REQUEST = ModelRequest("Be kind.", [{"role": "user", "content": "Hello"}], [], "gpt")

LOG = "the server's log says where."


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
    assert returning("Fine.") == Reply("Fine.")
    whole = Reply("Wait.", (ToolCall("a", "{}"),), usage=Usage(3, 4))
    assert returning(whole) == whole


def test_a_model_error_says_its_code_and_message():
    assert str(ModelError("server_error", "It broke.")) == "server_error: It broke."


def test_arguments_become_json_text_and_text_stays_what_it_is():
    assert returning([ToolCall("a", {"x": [1, "é"]}), ToolCall("b", "{broken"), ToolCall("c")]).calls == (
        ToolCall("a", '{"x":[1,"é"]}'),
        ToolCall("b", "{broken"),
        ToolCall("c", "{}"),
    )


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
def test_a_model_that_returns_something_else_gets_an_error_that_names_the_types(value, words):
    outcome = returning(value)
    assert outcome.code == "server_error"
    assert "must return a str, a Reply, a list of at least one ToolCall or an iterator of pieces" in outcome.message
    assert words in outcome.message


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall(" ", {}), "must have a name"),
        (ToolCall(7, {}), "must have a name"),
        (ToolCall("a", [1]), "must be a dict or a str"),
        (ToolCall("a", {"x": object()}), "cannot be written as JSON"),
        (ToolCall("a", {"x": "\ud800"}), "cannot be written as JSON"),
    ],
)
def test_a_tool_call_that_cannot_be_sent_fails_the_run_with_the_reason(call, words):
    outcome = returning([call])
    assert outcome.code == "server_error"
    assert words in outcome.message


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(1), KeyboardInterrupt()])
def test_any_exception_of_a_model_is_a_server_error_without_its_details(error, caplog):
    def model(_request):
        raise error

    outcome = ask(model, REQUEST)
    assert (outcome.code, outcome.message) == ("server_error", f"The model raised {type(error).__name__}; {LOG}")
    assert type(error).__name__ in caplog.text


def test_a_log_handler_that_raises_does_not_hide_the_result_from_its_callers(serve, capsys):
    class Broken(logging.Handler):
        def emit(self, record):
            raise ConnectionError("the log service is down")

    def model(_request):
        raise RuntimeError("mine")

    logger, handler = logging.getLogger("gpt_agent_fsm.local"), Broken()
    logger.addHandler(handler)
    try:
        assert serve(model).play("Hello")["last_error"]["message"] == f"The model raised RuntimeError; {LOG}"
    finally:
        logger.removeHandler(handler)
    assert "the log service is down" in capsys.readouterr().err


def test_text_that_utf8_cannot_encode_is_replaced():
    def model(_request):
        raise ModelError("a\ud800", "b\ud800")

    assert returning("x\ud800") == Reply("x?")
    assert returning([ToolCall("n", "\udfff")]) == Reply(calls=(ToolCall("n", "?"),))
    outcome = ask(model, REQUEST)
    assert (outcome.code, outcome.message) == ("a?", "b?")


def test_usage_is_above_zero_even_for_empty_text_and_adds_up():
    nothing = usage(ModelRequest("", [], [], "gpt"), Reply())
    assert nothing == {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    longer = usage(ModelRequest("", [{"role": "user", "content": "x" * 400}], [], "gpt"), Reply("y" * 40))
    assert longer == {"prompt_tokens": 101, "completion_tokens": 11, "total_tokens": 112}


def test_tokens_that_a_model_has_counted_are_not_estimated():
    counted = Reply("y" * 40, usage=Usage(7, 2))
    assert usage(REQUEST, counted) == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_tool_calls_count_with_their_names_and_arguments():
    assert usage(REQUEST, Reply("abcd", (ToolCall("name", "{1234}"),)))["completion_tokens"] == 1 + (4 + 4 + 6) // 4


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(7), "must have a str as its text"),
        (Reply("x", ("call",)), "ToolCalls as its calls"),
        (Reply("x", usage={}), "a Usage or None"),
        (Reply("x", incomplete="tired"), "incomplete must be None or one of"),
        (Reply("x", (ToolCall(" "),)), "must have a name"),
    ],
)
def test_a_reply_of_another_shape_fails_the_run_with_the_reason(reply, words):
    outcome = returning(reply)
    assert outcome.code == "server_error"
    assert words in outcome.message


def test_the_calls_of_an_answer_that_was_cut_off_are_left_out():
    assert returning(Reply("x", (ToolCall("a", "{"),), incomplete="content_filter")).calls == ()


def test_a_cut_leaves_as_many_tokens_as_there_may_be():
    assert cut(Reply("x" * 63), 16) == Reply("x" * 63)
    assert cut(Reply("x" * 64), 16) == Reply("x" * 63, incomplete="max_completion_tokens")
    assert usage(REQUEST, cut(Reply("x" * 1000), 16))["completion_tokens"] == 16
    assert cut(Reply("x" * 64), None) == Reply("x" * 64)
    assert cut(Reply("x" * 64, usage=Usage(1, 16)), 16).text == "x" * 64
    assert cut(Reply("x" * 64, (ToolCall("a", "{}"),)), 16).text == "x" * 64


def heard_from(*pieces):
    heard = []
    return ask(Speaker(*pieces), REQUEST, heard.append), heard


def test_the_answer_of_a_streaming_model_arrives_piece_by_piece():
    assert isinstance(Speaker(), StreamingModel)
    assert heard_from("Hel", "", "lo") == (Reply("Hello"), ["Hel", "lo"])
    last = Reply("Hello you", usage=Usage(1, 2))
    assert heard_from("Hel", "lo", last, "never") == (last, ["Hel", "lo"])


def test_pieces_that_utf8_cannot_encode_are_replaced():
    assert heard_from("a\udc00", "b\ud800", "c") == (Reply("a?b?c"), ["a?", "b", "?c"])
    assert heard_from("a\ud800") == (Reply("a?"), ["a", "?"])


def test_a_character_whose_halves_come_in_two_pieces_arrives_whole():
    assert heard_from("a\ud83d", "\ude00b") == (Reply("a\U0001f600b"), ["a", "\U0001f600b"])
    last = Reply("\ud83d\ude00")
    assert heard_from("\ud83d", "\ude00", last) == (Reply("\U0001f600"), ["\U0001f600"])
    assert returning("\ud83d\ude00") == Reply("\U0001f600")


@pytest.mark.parametrize("calls", [map(ToolCall, ("a", "b")), (ToolCall(name) for name in ("a", "b"))])
def test_the_calls_of_a_reply_may_be_any_iterable(calls):
    assert returning(Reply("Wait.", calls)) == Reply("Wait.", (ToolCall("a", "{}"), ToolCall("b", "{}")))


def test_calls_of_a_reply_that_are_none_are_an_error():
    assert returning(Reply("Wait.", None)).message == "A Reply must have a str as its text and ToolCalls as its calls."


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_an_error_instead_of_null(number):
    assert "cannot be written as JSON" in returning([ToolCall("a", {"x": [number]})]).message


def test_large_numbers_keep_their_digits():
    assert returning([ToolCall("a", {"x": 2**90})]).calls == (ToolCall("a", '{"x":1237940039285380274899124224}'),)


@pytest.mark.parametrize("on_chunk", [None, lambda _text: None])
def test_a_model_that_changes_its_request_changes_only_its_own_copy(on_chunk):
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    messages = [{"role": "user", "content": "Hello"}]
    asked = ModelRequest("", messages, [], "m", response_format=form)
    seen = []

    class Changing:
        def __call__(self, request):
            request.messages[0]["content"] = None
            request.messages.insert(0, {"role": "system", "content": None})
            request.schema["type"] = "array"
            seen.append((request.cancelled, request.response_format))
            return "{}"

        def stream(self, request):
            yield self(request)

    outcome = ask(Changing(), asked, on_chunk, strict_schemas=True)
    assert outcome == Reply("{}")
    assert usage(asked, outcome)["prompt_tokens"] == 2
    changed = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}
    assert seen == [(asked.cancelled, changed)]


def test_streamed_text_has_precedence_over_a_reply_that_begins_otherwise():
    assert heard_from("Hel", "lo", Reply("Bye", usage=Usage(1, 2))) == (
        Reply("Hello", usage=Usage(1, 2)),
        ["Hel", "lo"],
    )


def test_a_stream_that_fails_is_an_error_and_so_is_a_piece_that_is_not_text():
    outcome, heard = heard_from("Hel", ModelError("rate_limit_exceeded", "Slow down."))
    assert (outcome.code, heard) == ("rate_limit_exceeded", ["Hel"])
    assert heard_from("Hel", 7)[0].message == f"The model raised TypeError; {LOG}"


@pytest.mark.parametrize("last", [Reply("Hello"), ValueError("broken")])
def test_a_stream_is_closed_however_it_ends(last):
    closed = []

    class Closing(Speaker):
        def stream(self, request):
            try:
                yield from super().stream(request)
            finally:
                closed.append(True)

    ask(Closing("Hel", last, "lo"), REQUEST, lambda _piece: None)
    assert closed == [True]


def test_a_stream_may_be_any_iterable():
    class Listed:
        def stream(self, _request):
            return ["Hel", "lo"]

    assert ask(Listed(), REQUEST, lambda _piece: None) == Reply("Hello")


def test_without_a_listener_a_streaming_model_is_called():
    assert ask(Speaker("Hel", "lo"), REQUEST) == Reply("Hello")


@pytest.mark.parametrize("usage", [Usage(-3, 1), Usage(1, True), Usage(None, None), Usage(2**64, 1)])
def test_a_usage_that_is_not_a_count_is_refused(usage):
    outcome = ask(lambda request: Reply("Hi", usage=usage), ModelRequest("", [], [], "m"))
    assert isinstance(outcome, ModelError)
    assert "whole numbers of at least 0" in outcome.message


def test_an_error_without_its_fields_is_still_an_error():
    class Bare(ModelError):
        def __init__(self):
            Exception.__init__(self, "bare")

    def fail(request):
        raise Bare

    outcome = ask(fail, ModelRequest("", [], [], "m"))
    assert (outcome.code, outcome.message) == ("server_error", "Bare")


class Unprintable:
    def __str__(self):
        raise SystemExit


@pytest.mark.parametrize("answer", [ModelError(Unprintable(), "x"), ModelError("server_error", Unprintable())])
def test_an_error_that_cannot_be_read_is_an_error_as_well(answer, caplog):
    def model(_request):
        raise answer

    error = ask(model, ModelRequest("", [], [], "m"))
    assert (error.code, error.message) == ("server_error", "The model raised ModelError.")
