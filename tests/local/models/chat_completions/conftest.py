"""Servers that speak chat completions, each with a model in front of it."""

import contextlib

import pytest

from gpt_agent_fsm.local import (
    ChatCompletionsModel,
)
from tests.backends.conftest import certificate, tls  # noqa: F401 - fixtures
from tests.local.chat_server import (
    PATIENCE,
    ChatServer,
)
from tests.local.models.chat_completions.questions import streamed, whole


@pytest.fixture(params=[whole, streamed])
def ask(request):
    """Both ways to ask, for behaviour that must be the same with either."""
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
