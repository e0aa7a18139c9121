import contextlib
import gzip
import json
import logging
import socket
import threading
import time
import traceback

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
    LocalServer,
    ModelError,
    ModelRequest,
    Reply,
    StreamingModel,
    ToolCall,
    Usage,
)
from gpt_agent_fsm.local.models.asking import listen
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    DONE,
    HANG_UP,
    PATIENCE,
    SILENCE,
    Answer,
    ChatServer,
    answer,
    call,
    completion,
    event,
    fail,
    piece,
    say,
    stream,
)
from tests.local.conftest import Client

KEY = "sk-a-secret-key"
HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
SOON = 0.2


def request(messages=HELLO, *, instructions="", tools=(), model="gpt", cancelled=None):
    return ModelRequest(instructions, messages, list(tools), model, cancelled=cancelled or threading.Event())


def whole(model, asked):
    return model(asked)


def streamed(model, asked):
    return listen(model.stream(asked), lambda _text: None)


@pytest.fixture(params=[whole, streamed])
def ask(request):
    """Both ways to ask, for what has to be the same with either."""
    return request.param


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def serve():
    """Start servers and models for them, and close them at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(*script, tls=None, **kwargs):
            server = stack.enter_context(ChatServer(*script, tls=tls))
            model = ChatCompletionsModel(server.base_url, **({"timeout": PATIENCE} | kwargs))
            stack.callback(model.close)
            return server, model

        yield start


def failure(ask, model, asked=None):
    with pytest.raises(ModelError) as caught:
        ask(model, asked or request())
    return caught.value


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_the_conversation_is_sent_as_it_is_behind_the_instructions(serve):
    history = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
    ]
    server, model = serve(say("Hi."))
    assert model(request(history, instructions="Be kind.", model="llama3")) == Reply("Hi.")
    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "llama3",
        "messages": [{"role": "system", "content": "Be kind."}, *history],
        "stream": False,
    }


def test_without_instructions_there_is_no_system_message(serve):
    server, model = serve(say("Hi."))
    model(request())
    assert server.requests[0].body["messages"] == HELLO


def test_a_model_of_its_own_stands_in_for_the_one_the_run_names(serve):
    server, model = serve(say("Hi."), model="llama3")
    model(request(model="gpt-4"))
    assert server.requests[0].body["model"] == "llama3"


def test_functions_are_sent_as_they_are_and_other_tools_are_left_out(serve):
    function = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    server, model = serve(say("Hi."), say("Hi."))
    model(request(tools=[{"type": "file_search"}, function]))
    model(request(tools=[{"type": "code_interpreter"}]))
    assert server.requests[0].body["tools"] == [function]
    assert "tools" not in server.requests[1].body


def test_options_are_added_to_the_body_but_replace_nothing(serve, ask):
    server, model = serve(say("Hi."), options={"temperature": 0, "messages": [], "stream": 7})
    ask(model, request())
    body = server.requests[0].body
    assert (body["temperature"], body["messages"], body["stream"]) == (0, HELLO, ask is streamed)


def test_headers_and_params_are_added_to_each_request(serve):
    server, model = serve(say("Hi."), headers={"X-Title": "Test"}, params={"api-version": "2"})
    model(request())
    assert server.requests[0].path == "/v1/chat/completions?api-version=2"
    assert server.requests[0].headers["X-Title"] == "Test"
    assert server.requests[0].headers["Accept"] == "application/json, text/event-stream"


def test_the_key_is_sent_as_bearer_token(serve):
    server, model = serve(say("Hi."), api_key=KEY)
    model(request())
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_key_in_the_environment_belongs_to_another_service_and_is_not_sent(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server, model = serve(say("Hi."))
    model(request())
    assert "Authorization" not in server.requests[0].headers
    assert KEY not in str(server.requests)


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark(serve):
    server, model = serve(say("Hi."))
    model(request([{"role": "user", "content": "é \ud800"}]))
    assert server.requests[0].body["messages"][0]["content"] == "é ?"


def test_answers_that_come_in_one_piece_share_a_connection(serve):
    server, model = serve(say("1"), fail(400, "No."), say("2"))
    model(request())
    failure(whole, model)
    assert model(request()).text == "2"
    assert server.connections == 1


# --- what comes back in one piece -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": " Hi.\n"}, " Hi.\n"),
        ({"content": None}, ""),
        ({}, ""),
        (
            {"content": [{"type": "text", "text": "Hi"}, {"type": "thinking"}, "?", {"type": "text", "text": "."}]},
            "Hi.",
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": None, "refusal": "I can not help with that."}, "I can not help with that."),
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


def test_tool_calls_may_come_without_ids_or_with_the_same_and_with_words_on_the_way(serve):
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


# --- errors ---------------------------------------------------------------------------------------------------------


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (fail(429, "Rate limit reached for gpt-4."), "rate_limit_exceeded", "Rate limit reached for gpt-4."),
        (fail(429, "Slow down."), "rate_limit_exceeded", "Rate limit reached: Slow down."),
        (fail(429, QUOTA, "insufficient_quota"), "rate_limit_exceeded", QUOTA),
        (
            fail(402, "Insufficient credits"),
            "rate_limit_exceeded",
            "You exceeded your current quota: Insufficient credits",
        ),
        (
            fail(400, "Your messages resulted in 9000 tokens.", "context_length_exceeded"),
            "invalid_prompt",
            "Your messages resulted in 9000 tokens.",
        ),
        (
            fail(400, "This model's maximum context length is 4096 tokens.", 400),
            "invalid_prompt",
            "This model's maximum context length is 4096 tokens.",
        ),
        (
            fail(400, "the request exceeds the available context size", 400, "exceed_context_size_error"),
            "invalid_prompt",
            "the request exceeds the available context size",
        ),
        (fail(400, "It was flagged.", "invalid_prompt"), "invalid_prompt", "It was flagged."),
        (fail(400, "Too long a string.", "string_above_max_length"), "invalid_prompt", "Too long a string."),
        (fail(400, "Unknown parameter: 'foo'."), "server_error", "Unknown parameter: 'foo'."),
        (
            fail(404, 'model "llama9" not found, try pulling it first'),
            "server_error",
            'model "llama9" not found, try pulling it first',
        ),
        (fail(500, "Out of memory"), "server_error", "Out of memory"),
        (fail(503, "Loading model"), "server_error", "Loading model"),
    ],
)
def test_an_error_becomes_the_code_by_which_clients_know_what_to_do(serve, ask, said, code, message):
    _, model = serve(said)
    seen = failure(ask, model)
    assert (seen.code, seen.message) == (code, message)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_is_spoken_of_but_not_repeated(serve, ask, caplog, status):
    caplog.set_level(logging.DEBUG)
    _, model = serve(fail(status, f"Incorrect API key provided: {KEY}", KEY), api_key=KEY)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    assert seen.message == (
        "The API key is missing, wrong, or may not do this; check api_key; "
        "the server says: Incorrect API key provided: ***"
    )
    assert KEY not in "".join(traceback.format_exception(seen)) + repr(model) + caplog.text


def test_an_address_that_is_not_the_api_is_said_to_be_suspect(serve, ask):
    server, model = serve(answer(b"<html><title>Welcome</title></html>", 404))
    assert failure(ask, model).message == (
        f"POST {server.base_url}/chat/completions was answered with an HTML page titled 'Welcome'; "
        "the base URL may be wrong: base_url must end where /chat/completions begins"
    )


def test_a_refused_connection_names_the_base_url(ask):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    seen = failure(ask, ChatCompletionsModel(base_url))
    assert seen.code == "server_error"
    assert seen.message == f"No server could be reached at {base_url} (Connection refused); is it running there?"


def test_a_secret_in_the_address_is_told_by_no_cause(ask):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    seen = failure(ask, ChatCompletionsModel(base_url, params={"api-key": KEY}))
    assert KEY not in "".join(traceback.format_exception(seen))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(b"<html>Log in</html>"), "is an HTML page"),
        (answer(b"<html>Log in</html>", Content_Type="text/html"), "is an HTML page"),
        (answer(b""), "is empty"),
        (answer(b"Hello"), "is not what the API promises (it is no JSON)"),
        (answer({}), "is not what the API promises (it has no choices)"),
        (answer([]), "is not what the API promises (it has no choices)"),
        (answer({"choices": []}), "is not what the API promises (it has no choices)"),
        (answer({"choices": ["text"]}), "is not what the API promises (it has no choices)"),
    ],
)
def test_what_is_no_answer_is_described(serve, ask, said, words):
    server, model = serve(said)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    assert seen.message.startswith(f"The answer to POST {server.base_url}/chat/completions {words}")
    assert seen.message.endswith("base_url must end where /chat/completions begins")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "Slow down.", "code": 429}, "rate_limit_exceeded", "Rate limit reached: Slow down."),
        (
            {"message": "Slow down.", "code": "rate_limit_exceeded"},
            "rate_limit_exceeded",
            "Rate limit reached: Slow down.",
        ),
        ({"message": QUOTA, "code": "insufficient_quota"}, "rate_limit_exceeded", QUOTA),
        ({"message": f"Bad {KEY}", "code": 502}, "server_error", "Bad ***"),
        ("It broke.", "server_error", "It broke."),
    ],
)
def test_an_error_inside_an_answer_is_one_all_the_same(serve, ask, error, code, message):
    broken = {"error": error, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}
    said = stream("Once", event(broken)) if ask is streamed else answer({"error": error})
    _, model = serve(said, api_key=KEY)
    seen = failure(ask, model)
    assert (seen.code, seen.message) == (code, message)


@pytest.mark.parametrize("said", [SILENCE, stream("Once", SILENCE)], ids=["silent", "stalled"])
def test_the_time_for_a_turn_is_bounded(serve, ask, said):
    server, model = serve(said, timeout=SOON)
    begun = time.monotonic()
    seen = failure(ask, model)
    assert SOON * 0.9 <= time.monotonic() - begun < PATIENCE / 2
    assert seen.code == "server_error"
    assert seen.message == f"POST {server.base_url}/chat/completions was not answered within 0.2 seconds."
    assert server.hung_up.acquire(timeout=PATIENCE)


def test_an_answer_that_trickles_is_given_up_in_time(serve, ask):
    stopped = threading.Event()

    def trickle():
        while not stopped.wait(SOON / 10):
            yield b": still here\n"

    server, model = serve(Answer(body=trickle()), timeout=SOON)
    try:
        assert "was not answered within 0.2 seconds" in failure(ask, model).message
    finally:
        stopped.set()
    assert len(server.requests) == 1


def test_a_connection_lost_is_said_to_be(serve, ask):
    server, model = serve(HANG_UP)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    assert seen.message == (
        f"The connection was lost during POST {server.base_url}/chat/completions (it was closed without an answer)."
    )


# --- asking again ---------------------------------------------------------------------------------------------------


class Patience(threading.Event):
    """Writes down how long it was to be waited for, without waiting."""

    def __init__(self, *, cancel=False):
        super().__init__()
        self.waits = []
        self._cancel = cancel

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if self._cancel:
            self.set()
        return self.is_set()


BUSY = "Rate limit reached"


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_wait_that_a_server_asks_for_is_kept(serve, ask, status):
    patience = Patience()
    server, model = serve(fail(status, BUSY, Retry_After="3"), fail(429, BUSY, retry_after_ms="500"), say("Hi."))
    assert ask(model, request(cancelled=patience)).text == "Hi."
    assert patience.waits == [3.0, 0.5]
    assert server.requests[0] == server.requests[2]


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "21"}, {"Retry_After": "soon"}])
def test_a_long_wait_is_left_to_the_client_and_so_is_one_of_unknown_length(serve, ask, headers):
    patience = Patience()
    server, model = serve(fail(429, BUSY, **headers), timeout=60)
    assert failure(ask, model, request(cancelled=patience)).code == "rate_limit_exceeded"
    assert (patience.waits, len(server.requests)) == ([], 1)


def test_no_wait_goes_beyond_the_time_for_the_turn(serve, ask):
    patience = Patience()
    _, model = serve(fail(429, BUSY, Retry_After="11"), timeout=10)
    assert failure(ask, model, request(cancelled=patience)).code == "rate_limit_exceeded"
    assert patience.waits == []


def test_a_server_that_stays_busy_is_asked_four_times_in_all(serve, ask):
    patience = Patience()
    server, model = serve(*[fail(429, BUSY, Retry_After="1")] * 4, say("Too late."))
    assert failure(ask, model, request(cancelled=patience)).code == "rate_limit_exceeded"
    assert (patience.waits, len(server.requests)) == ([1.0] * 3, 4)


def test_an_exhausted_quota_is_not_waited_for(serve, ask):
    patience = Patience()
    server, model = serve(fail(429, QUOTA, Retry_After="1"))
    assert failure(ask, model, request(cancelled=patience)).message == QUOTA
    assert (patience.waits, len(server.requests)) == ([], 1)


def test_a_request_that_is_cancelled_while_it_waits_is_not_sent_again(serve, ask):
    server, model = serve(fail(429, BUSY, Retry_After="1"), say("Hi."))
    assert failure(ask, model, request(cancelled=Patience(cancel=True))).message == "The request was cancelled."
    assert len(server.requests) == 1


# --- cancelling -----------------------------------------------------------------------------------------------------


def test_a_request_that_is_cancelled_beforehand_is_not_sent(serve, ask):
    cancelled = threading.Event()
    cancelled.set()
    server, model = serve(say("Hi."))
    assert failure(ask, model, request(cancelled=cancelled)).message == "The request was cancelled."
    assert server.requests == []


@pytest.mark.parametrize("sent", [[], [b"{"]], ids=["no answer", "half an answer"])
def test_cancelling_hangs_up_on_the_server_at_once(serve, ask, sent):
    cancelled, waiting, seen = threading.Event(), threading.Event(), []
    server, model = serve(Answer(body=[*sent, waiting.set, SILENCE]) if sent else SILENCE)
    thread = threading.Thread(target=lambda: seen.append(failure(ask, model, request(cancelled=cancelled))))
    thread.start()
    assert server.arrived.acquire(timeout=PATIENCE)
    assert not sent or waiting.wait(PATIENCE)
    begun = time.monotonic()
    cancelled.set()
    assert server.hung_up.acquire(timeout=PATIENCE)
    thread.join(PATIENCE)
    assert time.monotonic() - begun < PATIENCE / 2
    assert [error.message for error in seen] == ["The request was cancelled."]


def test_cancelling_hangs_up_on_a_proxy_too(serve, ask, monkeypatch):
    cancelled, seen = threading.Event(), []
    proxy, _ = serve(SILENCE)
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
    model = ChatCompletionsModel("http://api.test/v1", timeout=PATIENCE)
    thread = threading.Thread(target=lambda: seen.append(failure(ask, model, request(cancelled=cancelled))))
    thread.start()
    assert proxy.arrived.acquire(timeout=PATIENCE)
    cancelled.set()
    thread.join(PATIENCE)
    assert proxy.hung_up.acquire(timeout=PATIENCE)
    assert [error.message for error in seen] == ["The request was cancelled."]
    assert proxy.requests[0].path == "http://api.test/v1/chat/completions"


def test_cancelling_ends_a_stream_behind_the_piece_that_came_last(serve):
    cancelled, heard = threading.Event(), []
    server, model = serve(stream("Once ", "upon ", SILENCE))

    def hear(text):
        heard.append(text)
        if len(heard) == 2:
            cancelled.set()

    with pytest.raises(ModelError, match="The request was cancelled"):
        listen(model.stream(request(cancelled=cancelled)), hear)
    assert heard == ["Once ", "upon "]
    assert server.hung_up.acquire(timeout=PATIENCE)


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False])
def test_a_piece_is_handed_out_before_the_next_one_is_made(serve, chunked):
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
def test_a_server_that_refuses_to_count_is_not_asked_to_again(serve, refusal):
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
    _, model = serve(stream({"role": "assistant", "content": ""}, {"refusal": "I can "}, {"refusal": "not."}))
    assert list(model.stream(request())) == ["I can ", "not.", Reply("I can not.")]


NOISE = (
    ": OPENROUTER PROCESSING\r\n\r\n"
    "event: message\r\nid: 1\r\nretry: 10\r\n"
    'data:{"choices":[{"delta":{"content":"é"}}]}\r\n\r\n'
    'data: {"choices":[{"delta":{"content":"😀"},"finish_reason":null}]}\n'
    'data: {"choices":[{"delta":null,"finish_reason":"stop"}]}'
).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_may_be_cut_anywhere_and_come_with_noise(serve, size):
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


def test_a_reason_to_finish_is_an_end_as_well(serve):
    _, model = serve(stream("Hi.", piece({}, "length"), {}, finish=None))
    assert streamed(model, request()) == Reply("Hi.", incomplete="max_completion_tokens")


@pytest.mark.parametrize(
    ("last", "words"), [([], "broke off."), ([HANG_UP], "The connection was lost during")], ids=["ended", "hung up"]
)
def test_a_stream_without_an_end_is_no_answer(serve, last, words):
    _, model = serve(stream("Once", *last, finish=None))
    pieces = model.stream(request())
    assert next(pieces) == "Once"
    with pytest.raises(ModelError) as caught:
        next(pieces)
    assert caught.value.code == "server_error"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"data: {broken\n\n", "it is no JSON"), (DONE, "it has no choices")],
    ids=["garbage", "nothing"],
)
def test_a_stream_that_holds_no_answer_is_described(serve, said, words):
    _, model = serve(stream(said, finish=None))
    assert words in failure(streamed, model).message


def test_the_answer_of_a_server_that_does_not_stream_comes_in_one_piece(serve):
    _, model = serve(say("Hi.", usage=USAGE), call({"name": "add", "arguments": "{}"}))
    assert list(model.stream(request())) == ["Hi.", Reply("Hi.", usage=Usage(7, 2))]
    assert list(model.stream(request())) == [Reply(calls=(ToolCall("add", "{}"),))]


def test_a_stream_that_nobody_reads_on_is_hung_up_on(serve):
    server, model = serve(stream("Once", SILENCE))
    pieces = model.stream(request())
    next(pieces)
    pieces.close()
    assert server.hung_up.acquire(timeout=PATIENCE)


def test_streams_that_one_thread_reads_in_turns_are_cancelled_each_for_itself(serve):
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


# --- the protocol ---------------------------------------------------------------------------------------------------


def test_listening_hands_out_the_pieces_and_returns_the_reply():
    heard = []
    assert listen(["a", "", "b", Reply("ab", usage=Usage(1, 1))], heard.append) == Reply("ab", usage=Usage(1, 1))
    assert heard == ["a", "b"]


def test_a_stream_without_a_reply_has_said_what_there_is_to_say():
    assert listen(iter(["a", "b"]), str) == Reply("ab")
    assert listen([], str) == Reply("")


def test_a_stream_is_closed_when_its_listener_fails():
    closed = []

    def pieces():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    def hear(_text):
        raise RuntimeError("full")

    left = pieces()
    with pytest.raises(RuntimeError, match="full"):
        listen(left, hear)
    assert closed == [True]


def test_the_model_is_one_that_streams_and_a_plain_function_is_none():
    assert isinstance(ChatCompletionsModel("http://localhost/v1"), StreamingModel)
    assert not isinstance(whole, StreamingModel)


# --- behind the embedded server -----------------------------------------------------------------------------------


def test_a_run_of_the_embedded_server_calls_its_tools_through_it(serve):
    upstream, model = serve(call({"name": "add", "arguments": '{"a": 1}'}), say("It is 3."), model="llama3")
    add = {"type": "function", "function": {"name": "add"}}

    def answered(asked):
        reply = model(asked)
        return list(reply.calls) or reply.text

    with LocalServer(answered) as server:
        client = Client(server)
        thread = client.thread("What is 1 and 2?")
        run = client.see(client.run(thread, tools=[add], instructions="Be brief."), "requires_action")
        client.see(client.submit(run, "3"), "completed")
        assert client.texts(thread) == ["What is 1 and 2?", "It is 3."]
        client.session.close()
    first, second = (asked.body for asked in upstream.requests)
    system, said = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 and 2?"}
    assert first == {"model": "llama3", "messages": [system, said], "tools": [add], "stream": False}
    assert second["messages"][:2] == [system, said]
    assistant, tool = second["messages"][2:]
    (made,) = assistant["tool_calls"]
    assert (made["type"], made["function"]) == ("function", {"name": "add", "arguments": '{"a": 1}'})
    assert tool == {"role": "tool", "tool_call_id": made["id"], "content": "3"}


# --- making one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {"base_url": "http://localhost/v1/chat/completions/"},
            "ending where /chat/completions begins, and not with it",
        ),
        ({"base_url": "localhost:8080"}, "base_url must look like"),
        ({"api_key": "sk \n"}, "api_key must be printable ASCII"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"timeout": float("inf")}, "and at most a day"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"headers": {"X": "\n"}}, "The header 'X' must be printable"),
    ],
)
def test_what_can_not_be_right_is_refused_in_a_sentence(kwargs, words):
    with pytest.raises(ValueError, match=words) as caught:
        ChatCompletionsModel(**({"base_url": "http://localhost/v1"} | kwargs))
    assert "OPENAI" not in str(caught.value)


def test_its_repr_says_where_it_asks_and_not_with_which_key():
    model = ChatCompletionsModel("http://localhost:11434/v1/", "llama3", KEY)
    assert repr(model) == "ChatCompletionsModel(base_url='http://localhost:11434/v1', model='llama3')"


def test_a_closed_model_connects_anew(serve):
    server, model = serve(say("1"), say("2"))
    model(request())
    model.close()
    model.close()
    assert model(request()).text == "2"
    assert server.connections == 2


def test_one_model_serves_many_threads_with_a_connection_each(serve):
    together = threading.Barrier(4)
    answers = [
        Answer(200, {"Content-Type": "application/json"}, [lambda: together.wait(PATIENCE), say(str(number)).body])
        for number in range(4)
    ]
    server, model = serve(*answers)
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(model(request()).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(texts) == ["0", "1", "2", "3"]
    assert server.connections == 4


def test_a_body_is_json_that_any_server_reads(serve):
    server, model = serve(say("Hi."))
    model(request([{"role": "user", "content": 'a "quote"\n\x00'}]))
    assert json.dumps(server.requests[0].body["messages"][0]["content"]) == '"a \\"quote\\"\\n\\u0000"'
    assert server.requests[0].headers["Content-Type"] == "application/json"
