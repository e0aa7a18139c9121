"""The contract of a model that yields its answer in pieces."""

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
    Reply,
    StreamingModel,
    Usage,
)
from gpt_agent_fsm.local.models.asking import listen
from gpt_agent_fsm.local.models.echo import echo
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures


def test_listening_hands_out_the_pieces_and_returns_the_reply():
    heard = []
    assert listen(["a", "", "b", Reply("ab", usage=Usage(1, 1))], heard.append) == Reply("ab", usage=Usage(1, 1))
    assert heard == ["a", "b"]


def test_a_stream_without_a_reply_is_complete():
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


def test_the_model_is_a_streaming_model_and_a_plain_function_is_not():
    assert isinstance(ChatCompletionsModel("http://localhost/v1"), StreamingModel)
    assert not isinstance(echo, StreamingModel)
