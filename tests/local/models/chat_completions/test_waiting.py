"""Retries, and the end of a request whose answer is no longer wanted."""

import threading
import time

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
    ModelError,
)
from gpt_agent_fsm.local.models.asking import listen
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    PATIENCE,
    SILENCE,
    Answer,
    fail,
    say,
    stream,
)
from tests.local.models.chat_completions.questions import QUOTA, failure, request


class Patience(threading.Event):
    """Records the requested waits, without waiting."""

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
def test_a_long_or_unknown_wait_is_left_to_the_client(serve, ask, headers):
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
