"""Requests to a chat-completions model, and both ways to send them."""

import threading

import pytest

from gpt_agent_fsm.local import (
    ModelError,
    ModelRequest,
)
from gpt_agent_fsm.local.models.asking import listen
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures

KEY = "sk-a-secret-key"


HELLO = [{"role": "user", "content": "Hello"}]


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


SOON = 0.2
QUOTA = "You exceeded your current quota, please check your plan and billing details."


def request(messages=HELLO, *, instructions="", tools=(), model="gpt", cancelled=None):
    return ModelRequest(instructions, messages, list(tools), model, cancelled=cancelled or threading.Event())


def whole(model, asked):
    return model(asked)


def streamed(model, asked):
    return listen(model.stream(asked), lambda _text: None)


def failure(ask, model, asked=None):
    with pytest.raises(ModelError) as caught:
        ask(model, asked or request())
    return caught.value
