"""The surroundings of the pages' code when it is executed: a server, its address, and an empty folder."""

import logging
import os
import sys
import types

import blinker
import pytest

from gpt_agent_fsm import signals
from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall
from tests.tokens import ShortTokens


def weather_man(request: ModelRequest) -> str | list[ToolCall]:
    """Answer a question about warmth with a tool, and anything else with an echo."""
    if "How warm" not in request.user_message:
        return f"You said: {request.user_message}"
    return request.outputs[0] if request.outputs else [ToolCall("get_weather", {"city": "Oslo"})]


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The environment of a user who follows the pages."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "GPT_AGENT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    monkeypatch.setenv("OPENAI_API_KEY", "any-key")
    with LocalServer(weather_man, api_key="any-key") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield tmp_path


@pytest.fixture
def database(environment, postgresql, monkeypatch):
    """A PostgreSQL database in the environment, and the modules that a page writes."""
    pytest.importorskip("procrastinate", reason="the extra cluster is not installed")
    monkeypatch.syspath_prepend(environment)
    monkeypatch.setenv("GPT_AGENT_STORE", postgresql.new_schema())
    yield
    sys.modules.pop("bot", None)


@pytest.fixture
def azure(monkeypatch):
    """Azure: a server whose tokens run out often, and the package that issues them."""
    tokens = ShortTokens(requests_per_token=4)
    identity = types.ModuleType("azure.identity")
    identity.DefaultAzureCredential = object
    identity.get_bearer_token_provider = lambda credential, *scopes: tokens.issue
    monkeypatch.setitem(sys.modules, "azure", types.ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    with LocalServer(api_key=tokens.accepts) as server:
        monkeypatch.setenv("AZURE_OPENAI_BASE_URL", server.base_url)
        yield tokens


@pytest.fixture
def clean_signals():
    """Signals without listeners, even after the test."""
    yield
    for signal in (*signals.by_class.values(), signals.event):
        for receiver in list(signal.receivers_for(blinker.ANY)):
            signal.disconnect(receiver)


@pytest.fixture(autouse=True)
def clean_logging():
    """Loggers as they were, also after a page that sets them up."""
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    known = set(logging.root.manager.loggerDict)
    yield
    for name in set(logging.root.manager.loggerDict) - known:
        logging.getLogger(name).setLevel(logging.NOTSET)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
