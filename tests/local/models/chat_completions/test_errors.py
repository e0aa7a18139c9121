"""The translation of errors and of unusable answers."""

import logging
import socket
import threading
import time
import traceback

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    HANG_UP,
    PATIENCE,
    SILENCE,
    Answer,
    answer,
    event,
    fail,
    stream,
)
from tests.local.models.chat_completions.questions import KEY, QUOTA, SOON, failure, streamed


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
def test_the_error_for_a_wrong_key_does_not_repeat_it(serve, ask, caplog, status):
    caplog.set_level(logging.DEBUG)
    _, model = serve(fail(status, f"Incorrect API key provided: {KEY}", KEY), api_key=KEY)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    # The client did not give this key, so it gets no words about it.
    assert seen.message == f"The model's server has refused the key of this server (HTTP {status})."
    assert KEY not in "".join(traceback.format_exception(seen)) + repr(model) + caplog.text


def test_the_error_for_an_address_without_the_api_says_that_it_may_be_wrong(serve, ask):
    server, model = serve(answer(b"<html><title>Welcome</title></html>", 404))
    assert failure(ask, model).message == (
        f"POST {server.base_url}/chat/completions was answered with an HTML page titled 'Welcome'; "
        "the base URL may be wrong: base_url must be the part of the address before /chat/completions"
    )


def test_a_refused_connection_names_the_base_url(ask):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    seen = failure(ask, ChatCompletionsModel(base_url))
    assert seen.code == "server_error"
    assert seen.message == f"No server could be reached at {base_url} (Connection refused); is it running there?"


def test_no_cause_shows_a_secret_in_the_address(ask):
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
        (answer(b"Hello"), "is not what the API promises (it is not valid JSON)"),
        (answer({}), "is not what the API promises (it has no choices)"),
        (answer([]), "is not what the API promises (it has no choices)"),
        (answer({"choices": []}), "is not what the API promises (it has no choices)"),
        (answer({"choices": ["text"]}), "is not what the API promises (it has no choices)"),
    ],
)
def test_unusable_answers_are_described(serve, ask, said, words):
    server, model = serve(said)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    assert seen.message.startswith(f"The answer to POST {server.base_url}/chat/completions {words}")
    assert seen.message.endswith("base_url must be the part of the address before /chat/completions")


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
def test_an_error_inside_an_answer_counts_as_an_error(serve, ask, error, code, message):
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


def test_an_answer_in_one_piece_that_is_cut_off_is_not_called_something_else(serve, ask):
    cut = Answer(
        headers={"Content-Type": "application/json", "Content-Length": "500"}, body=[b'{"cho', HANG_UP], chunked=False
    )
    _, model = serve(cut)
    assert "The connection was lost during" in failure(ask, model).message


def test_a_lost_connection_is_reported(serve, ask):
    server, model = serve(HANG_UP)
    seen = failure(ask, model)
    assert seen.code == "server_error"
    assert seen.message == (
        f"The connection was lost during POST {server.base_url}/chat/completions (it was closed without an answer)."
    )
