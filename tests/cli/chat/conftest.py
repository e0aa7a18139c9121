"""A user of the chat: an empty folder, an environment without keys, and a pipe."""

import io
import os

import pytest
from click.testing import CliRunner

from gpt_agent_fsm.cli import commands

SCRIPT = """
rules:
  - when: weather
    steps:
      - call: {name: get_weather, arguments: {city: Oslo}}
      - say: "It is {outputs} now."
  - when: both
    steps:
      - call: [{name: get_weather, arguments: {city: Oslo}}, {name: get_time, arguments: {}}]
      - say: "It is {outputs} now."
  - when: refund
    steps:
      - call: {name: refund, arguments: {order: 17}}
      - say: "The shop says {outputs}."
  - when: delete
    steps:
      - approve: {name: delete_file, arguments: {name: a.txt}, server: files}
      - say: "It was {approved}."
  - when: break
    steps:
      - fail: {code: server_error, message: It is broken.}
  - when: never
    say: Never.
    delay: 1000
"""
TOOLS = '''
from gpt_agent_fsm import tool

@tool(approve=True)
def refund(order: int) -> str:
    """Pay the price of an order back."""
    return f"Paid {order}."

def get_weather(city: str) -> dict:
    """Return the weather in a city."""
    return {"city": city, "celsius": 21}
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user works. It has a script for the model and a module of tools."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "GPT_AGENT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.yaml").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "shop_tools.py").write_text(TOOLS, encoding="utf-8")
    return tmp_path


class Typed(io.RawIOBase):
    """A pipe into which one line comes at a time. A function among the lines is called when it is its turn."""

    def __init__(self, lines):
        super().__init__()
        self._lines = iter(lines)

    def readable(self):
        return True

    def readinto(self, buffer):
        for line in self._lines:
            if not callable(line):
                data = f"{line}\n".encode()
                buffer[: len(data)] = data
                return len(data)
            line()
        return 0


@pytest.fixture
def chat():
    """Chat through a pipe, in this process. Whatever happens, a person sees no traceback."""

    def invoke(*arguments, lines=()):
        typed = io.BufferedReader(Typed(lines))
        result = CliRunner().invoke(commands.cli, ["chat", *arguments], input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return invoke
