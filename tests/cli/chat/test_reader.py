"""The keys of the prompt. `test_terminal` tests the keys that need a history or completions, which come later."""

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

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
