"""Tests of the bot in `bot.py`, without a network: the embedded server plays the model."""

import bot
import pytest

from gpt_agent_fsm import Runtime, Settings
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall


def model(request: ModelRequest) -> str | list[ToolCall]:
    """Call the tool that the message names. When the tool has returned, answer with its output."""
    if request.outputs:
        return f"It is {request.outputs[-1]}"
    name, _, argument = request.user_message.partition(" ")
    arguments = {"convert": {"amount": 100, "unit": argument}, "take_note": {"text": argument}}
    return [ToolCall(name, arguments.get(name, {}))]


@pytest.fixture
def agent():
    """Yield an agent that talks to the bot's assistant on the embedded server."""
    with LocalServer(model) as server:
        backend = ResponsesBackend(server.base_url, "any-key", assistants={"helper": bot.ASSISTANT})
        with Runtime(backend, Settings(heartbeat_interval=0.02)) as runtime:
            yield runtime.start("helper")


def test_a_temperature_is_converted(agent):
    assert agent.ask("convert celsius", timeout=60).text == "It is 212.0"


def test_a_wrong_unit_is_told_to_the_model(agent):
    assert "unit" in agent.ask("convert kelvin", timeout=60).text


def test_notes_are_kept(agent):
    agent.ask("take_note buy milk", timeout=60)
    assert bot.NOTES == ["buy milk"]
