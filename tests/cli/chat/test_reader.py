"""The keys of the prompt. `test_terminal` tests the keys that need a history or completions, which come later."""

import sys
from types import SimpleNamespace

import click
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from gpt_agent_fsm.cli.chat import command
from gpt_agent_fsm.cli.chat.reader import Prompt

ENTER, ALT_ENTER, CTRL_C, CTRL_D = "\r", "\x1b\r", "\x03", "\x04"


@pytest.fixture
def type_():
    """Return a function that types keys at the prompt, and returns the message."""

    def typed(keys):
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            return Prompt([], []).message()

    return typed


def test_enter_sends_and_alt_enter_begins_a_line(type_):
    assert type_(f"two{ALT_ENTER}lines{ENTER}") == "two\nlines"


def test_ctrl_c_clears_a_text_and_leaves_without_one(type_):
    assert type_(f"wrong{CTRL_C}right{ENTER}") == "right"
    with pytest.raises(KeyboardInterrupt):
        type_(CTRL_C)


def test_ctrl_d_leaves(type_):
    with pytest.raises(EOFError):
        type_(CTRL_D)


def test_a_terminal_without_rich_gets_a_sentence(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.cli.chat.colours", raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(click.ClickException, match=r"rich\.console is not installed; install what"):
        command._screen(is_terminal=True)


def test_a_terminal_without_prompt_toolkit_gets_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    session = SimpleNamespace(earlier=())
    with pytest.raises(click.ClickException, match="prompt_toolkit is not installed; install what the command line"):
        command._reader(session, is_terminal=True)
