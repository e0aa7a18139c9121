"""Answers that come in pieces."""

import gzip
import threading

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
    ModelError,
    Reply,
    ToolCall,
    Usage,
)
from gpt_agent_fsm.local.models.chat_completions import client
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    DONE,
    HANG_UP,
    PATIENCE,
    SILENCE,
    Answer,
    answer,
    call,
    event,
    fail,
    piece,
    say,
    stream,
)
from tests.local.models.chat_completions.questions import SOON, USAGE, failure, request, streamed, whole


@pytest.mark.parametrize("chunked", [True, False])
def test_a_piece_is_passed_on_before_the_next_one_is_made(serve, chunked):
    heard = threading.Event()
    _, model = serve(stream("Once ", lambda: heard.wait(PATIENCE), "upon", chunked=chunked), timeout=PATIENCE / 2)
    pieces = model.stream(request())
    assert next(pieces) == "Once "
    heard.set()
    assert list(pieces) == ["upon", Reply("Once upon")]


def test_a_stream_asks_for_the_usage_which_comes_last(serve):
    server, model = serve(
        stream("Hi.", piece({}, usage=USAGE | {"completion_tokens": 1}), event({"choices": [], "usage": USAGE}), {})
    )
    assert list(model.stream(request())) == ["Hi.", Reply("Hi.", usage=Usage(7, 2))]
    body = server.requests[0].body
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    "refusal",
    [
        fail(400, "Unrecognized request argument supplied: stream_options"),
        answer({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422),
    ],
)
def test_a_server_that_refuses_to_report_usage_is_not_asked_again(serve, refusal):
    server, model = serve(refusal, stream("1"), stream("2"))
    assert [streamed(model, request()).text for _ in range(2)] == ["1", "2"]
    assert ["stream_options" in asked.body for asked in server.requests] == [True, False, False]


def test_another_refusal_of_a_stream_is_an_error_at_once(serve):
    server, model = serve(fail(400, "Unknown parameter: 'foo'."))
    assert failure(streamed, model).message == "Unknown parameter: 'foo'."
    assert len(server.requests) == 1


def fragment(arguments=None, **fields):
    function = {name: fields.pop(name) for name in ("name",) if name in fields}
    return {"function": function | ({} if arguments is None else {"arguments": arguments})} | fields


@pytest.mark.parametrize(
    "deltas",
    [
        [
            [fragment(index=0, id="1", name="add", arguments="")],
            [fragment('{"a"', index=0)],
            [fragment(":1}", index=0)],
            [fragment(index=1, id="2", name="sub", arguments="{}")],
        ],
        [
            [fragment("{", index=1, id="2", name="sub"), fragment('{"a":', index=0, id="1", name="add")],
            [fragment("1}", index=0), fragment("}", index=1)],
        ],
        [[fragment('{"a":1}', name="add"), fragment("{}", name="sub")]],
        [[fragment('{"a"', name="add")], [fragment(":1}")], [fragment(name="sub")], [fragment("{}")]],
        [[fragment('{"a"', id="1", name="add")], [fragment(":1}", id="1", name="add")], [fragment(id="2", name="sub")]],
        [[fragment('{"a":1}', index=0, id="1", name="add")], [fragment("{}", index=0, id="2", name="sub")]],
        [
            [fragment('{"a"', index=0, id="x", name="add")],
            [fragment(":1}", index=0, id="y", name=None)],
            [fragment(index=1, id="z", name="sub")],
        ],
        [
            [fragment('{"a"', index=0, name="add")],
            [fragment(":1}", index=0, name="add"), fragment(index=1, name="sub")],
        ],
        [[fragment('{"a"', index=0, id="1", name="add")], [fragment(":1}")], [fragment("{}", id="2", name="sub")]],
        [[fragment({"a": 1}, index=0, id="1", name="add")], [fragment({}, index=1, id="2", name="sub")]],
    ],
    ids=[
        "by the book",
        "interleaved",
        "whole and without index",
        "without index",
        "by id",
        "all 0",
        "an id for each piece",
        "a name for each piece",
        "index at first",
        "objects",
    ],
)
def test_tool_calls_are_put_together_from_their_pieces(serve, deltas):
    _, model = serve(stream(*[{"tool_calls": calls} for calls in deltas], finish="tool_calls"))
    reply = streamed(model, request())
    assert sorted(reply.calls, key=lambda call: call.name) == [ToolCall("add", '{"a":1}'), ToolCall("sub", "{}")]
    assert (reply.text, reply.incomplete) == ("", None)


def test_a_refusal_is_streamed_as_the_answer(serve):
    _, model = serve(stream({"role": "assistant", "content": ""}, {"refusal": "I can"}, {"refusal": "not."}))
    assert list(model.stream(request())) == ["I can", "not.", Reply("I cannot.")]


NOISE = (
    ": OPENROUTER PROCESSING\r\n\r\n"
    "event: message\r\nid: 1\r\nretry: 10\r\n"
    'data:{"choices":[{"delta":{"content":"é"}}]}\r\n\r\n'
    'data: {"choices":[{"delta":{"content":"😀"},"finish_reason":null}]}\n'
    'data: {"choices":[{"delta":null,"finish_reason":"stop"}]}'
).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_may_be_split_anywhere_and_mixed_with_other_lines(serve, size):
    parts = [NOISE[start : start + size] for start in range(0, len(NOISE), size)]
    _, model = serve(Answer(headers={"Content-Type": "text/event-stream; charset=utf-8"}, body=parts))
    assert list(model.stream(request())) == ["é", "😀", Reply("é😀")]


def test_a_compressed_stream_is_read(serve):
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    _, model = serve(Answer(headers=headers, body=[gzip.compress(NOISE)]))
    assert list(model.stream(request())) == ["é", "😀", Reply("é😀")]


def test_done_is_the_end_though_the_server_keeps_the_connection_open(serve):
    server, model = serve(stream("Hi.", DONE, SILENCE, finish=None))
    assert streamed(model, request()) == Reply("Hi.")
    assert server.hung_up.acquire(timeout=PATIENCE)


def test_a_finish_reason_ends_the_stream_as_well(serve):
    _, model = serve(stream("Hi.", piece({}, "length"), {}, finish=None))
    assert streamed(model, request()) == Reply("Hi.", incomplete="max_completion_tokens")


@pytest.mark.parametrize("last", [SILENCE, HANG_UP])
def test_a_complete_answer_counts_whatever_becomes_of_its_connection(serve, monkeypatch, last):
    monkeypatch.setattr(client, "_GRACE", SOON)
    _, model = serve(stream("Hi.", piece({}, "stop"), last, finish=None))
    assert list(model.stream(request())) == ["Hi.", Reply("Hi.")]


@pytest.mark.parametrize("reason", ["null", "none", "stop"])
def test_a_pause_after_an_early_reason_to_finish_is_waited_for(serve, monkeypatch, reason):
    monkeypatch.setattr(client, "_GRACE", 0.0)
    heard = threading.Event()
    parts = [piece({"role": "assistant"}, reason), piece({"content": "Once "}, reason), lambda: heard.wait(PATIENCE)]
    _, model = serve(stream(*parts, piece({"content": "upon"}, reason)))
    pieces = model.stream(request())
    assert next(pieces) == "Once "
    heard.set()
    assert list(pieces) == ["upon", Reply("Once upon")]


def test_an_answer_that_may_continue_is_not_complete_when_its_connection_is_lost(serve):
    _, model = serve(stream(piece({"content": "Once"}, "stop"), HANG_UP, finish=None))
    assert "The connection was lost during" in failure(streamed, model).message


def test_reasoning_that_a_template_opens_is_left_out_of_later_streams(serve):
    pieces = ["Hm.", "\n</thi", "nk>\n", "\nHello", " there"]
    _, model = serve(stream(*pieces), stream(*pieces), stream("Hello", " there"))
    assert streamed(model, request()).text == "".join(pieces)  # it was passed on before it was known to be reasoning
    assert list(model.stream(request())) == ["Hello", " there", Reply("Hello there")]
    assert list(model.stream(request())) == ["Hello there", Reply("Hello there")]


def test_reasoning_that_a_template_opens_is_left_out_of_an_answer_that_is_not_streamed(serve):
    _, model = serve(stream("Hm. </think>", "\n\nHello", " there"), stream("The tag </think>", " ends it."))
    assert whole(model, request()).text == "Hello there"
    assert whole(model, request()).text == "The tag </think> ends it."


def test_an_answer_that_is_complete_still_waits_for_its_usage(serve):
    counted = event({"choices": [], "usage": USAGE})
    _, model = serve(stream("Hi.", piece({}, "stop"), lambda: None, counted, SILENCE, finish=None), timeout=SOON * 5)
    assert streamed(model, request()) == Reply("Hi.", usage=Usage(7, 2))


@pytest.mark.parametrize(
    ("last", "words"), [([], "broke off."), ([HANG_UP], "The connection was lost during")], ids=["ended", "hung up"]
)
def test_a_stream_without_an_end_is_not_an_answer(serve, last, words):
    _, model = serve(stream("Once", *last, finish=None))
    pieces = model.stream(request())
    assert next(pieces) == "Once"
    with pytest.raises(ModelError) as caught:
        next(pieces)
    assert caught.value.code == "server_error"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"data: {broken\n\n", "it is not valid JSON"), (DONE, "it has no choices")],
    ids=["garbage", "nothing"],
)
def test_a_stream_that_holds_no_answer_is_described(serve, said, words):
    _, model = serve(stream(said, finish=None))
    assert words in failure(streamed, model).message


def test_the_answer_of_a_server_that_does_not_stream_comes_in_one_piece(serve):
    _, model = serve(say("Hi.", usage=USAGE), call({"name": "add", "arguments": "{}"}))
    assert list(model.stream(request())) == ["Hi.", Reply("Hi.", usage=Usage(7, 2))]
    assert list(model.stream(request())) == [Reply(calls=(ToolCall("add", "{}"),))]


def test_a_stream_that_nobody_reads_is_closed(serve):
    server, model = serve(stream("Once", SILENCE))
    pieces = model.stream(request())
    next(pieces)
    pieces.close()
    assert server.hung_up.acquire(timeout=PATIENCE)


def test_streams_that_one_os_thread_reads_in_turns_are_cancelled_each_for_itself(serve):
    cancelled = threading.Event()
    _, model = serve(stream("1", SILENCE), stream("2", "3"))
    first = model.stream(request(cancelled=cancelled))
    second = model.stream(request())
    assert [next(first), next(second)] == ["1", "2"]
    cancelled.set()
    assert list(second) == ["3", Reply("23")]
    with pytest.raises(ModelError, match="The request was cancelled"):
        next(first)


def test_both_ways_work_over_tls_however_much_the_socket_hides(serve, ask, tls, certificate, monkeypatch):  # noqa: F811
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    text = "x" * 16_000  # one record, of which a reader's buffer takes half
    said = stream(text) if ask is streamed else say(text)
    server, _ = serve(said, tls=tls)
    model = ChatCompletionsModel(server.base_url.replace("127.0.0.1", "localhost"), timeout=PATIENCE)
    assert ask(model, request()).text == text
    model.close()
