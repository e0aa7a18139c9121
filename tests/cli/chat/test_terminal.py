"""A chat on a terminal, as a person sees it."""

import os
import threading

import pytest

from gpt_agent_fsm.local import LocalServer

if os.name != "posix":
    pytest.skip("needs a pseudo terminal", allow_module_level=True)

from tests.cli.chat.terminal import CTRL_C, CTRL_D, UP, Terminal

SCRIPT = ("--script", "script.yaml")


@pytest.fixture
def terminal():
    """Return a function that starts a chat and waits for its prompt."""
    terminals = []

    def start(*arguments, prompt=True, **env):
        terminals.append(Terminal("chat", *arguments, **env))
        terminals[-1].before = terminals[-1].settings
        if prompt:
            terminals[-1].prompted()
        return terminals[-1].__enter__()

    yield start
    for each in terminals:
        each.__exit__()


def is_clean(terminal):
    """Return whether a chat that has ended has left the terminal as it was, with a visible cursor."""
    shown_last = terminal.raw.rfind("\x1b[?25l") < terminal.raw.rfind("\x1b[?25h")
    pastes_normally = terminal.raw.rfind("\x1b[?2004h") < terminal.raw.rfind("\x1b[?2004l")
    return terminal.settings == terminal.before and shown_last and pastes_normally


def test_a_person_talks_and_leaves(terminal):
    chat = terminal("--local")
    chat.type("Hello")
    assert "\nYou said: Hello\n" in chat.prompted()
    chat.press(CTRL_D)
    assert chat.ended() == 0
    assert is_clean(chat)
    assert "Nothing was kept. With --db PATH, you can continue later." in chat.text


@pytest.mark.parametrize("api", ["assistants", "responses"])
def test_the_pieces_of_an_answer_are_shown_as_they_come(terminal, api):
    seen = threading.Event()

    def model(_):
        yield "It is "
        seen.wait(60)
        yield "wet."

    with LocalServer(model) as server:
        chat = terminal("--api", api, OPENAI_BASE_URL=server.base_url)
        chat.type("How is it?")
        assert "wet" not in chat.until("It is ")
        seen.set()
        assert chat.prompted().startswith("wet.\n")
        chat.press(CTRL_D)
        assert chat.ended() == 0
        assert "To continue: gpt-agent-fsm chat --api" in chat.text


def test_a_person_answers_a_call_and_decides_about_another(terminal):
    chat = terminal(*SCRIPT, "--tools", "shop_tools:refund")
    chat.type("How is the weather?")
    assert 'get_weather {"city": "Oslo"}' in chat.until(r"output of get_weather \(JSON or text\):")
    chat.type('{"celsius": 21}')
    assert 'It is {"celsius":21} now.' in chat.prompted()
    chat.type("refund")
    assert 'refund {"order": 17}' in chat.until("approve refund")
    chat.type("n too late")
    assert "The call was denied: too late" in chat.prompted()


INTERRUPTED = """
import os
from gpt_agent_fsm import Agent
stream = Agent.stream

def interrupted(*arguments, **options):
    pieces = stream(*arguments, **options)
    os.kill(os.getpid(), signal.SIGINT)
    return pieces

Agent.stream = interrupted
"""


def test_ctrl_c_cancels_a_run_that_begins_before_the_chat_waits_for_it(terminal):
    with LocalServer(lambda request: request.cancelled.wait(60) and "Late.") as server:
        chat = terminal("--api", "responses", first=INTERRUPTED, OPENAI_BASE_URL=server.base_url)
        chat.type("Think")
        assert "Cancelled." in chat.prompted()
        chat.press(CTRL_D)
        assert chat.ended() == 0


@pytest.mark.parametrize("api", ["assistants", "responses"])
def test_ctrl_c_during_an_answer_cancels_the_run_and_returns_to_the_prompt(terminal, api):
    began, cancelled = threading.Event(), []

    def model(request):
        if "Hello" in request.user_message:
            return "Good day."
        began.set()
        cancelled.append(request.cancelled.wait(60))
        return "Late."

    with LocalServer(model) as server:
        chat = terminal("--api", api, OPENAI_BASE_URL=server.base_url)
        chat.type("Think")
        assert began.wait(60)
        chat.press(CTRL_C)
        assert "Cancelled." in chat.prompted()
        chat.type("Hello")
        assert "Good day." in chat.prompted()
        assert cancelled == [True]
        chat.press(CTRL_D)
        assert chat.ended() == 0


def test_ctrl_c_at_a_question_cancels_the_run_and_asks_nothing_more(terminal):
    chat = terminal(*SCRIPT)
    chat.type("both")
    chat.until(r"output of get_weather \(JSON or text\):")
    chat.press(CTRL_C)
    after = chat.prompted()
    assert "Cancelled." in after
    assert "(JSON or text" not in after.partition("get_time")[2]
    chat.type("Hello")
    assert "You said: Hello" in chat.prompted()


def test_ctrl_c_drops_a_message_that_cannot_be_sent(terminal):
    with LocalServer() as server:
        chat = terminal(OPENAI_BASE_URL=server.base_url)
    chat.type("Hello")
    chat.until(r"Trying again\.")
    chat.press(CTRL_C)
    assert "Cancelled." in chat.prompted()


def test_a_second_ctrl_c_returns_to_the_prompt_at_once(terminal):
    is_slow, answer = threading.Event(), threading.Event()

    def check(_):
        return answer.wait(60) if is_slow.is_set() else True

    with LocalServer(api_key=check) as server:
        chat = terminal(OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk-any")
        is_slow.set()
        chat.type("Hello")
        chat.until("waiting")
        chat.press(CTRL_C)
        chat.until("cancelling; Ctrl-C again returns to the prompt")
        chat.press(CTRL_C)
        assert "The run may still be in progress; /state shows it." in chat.prompted()
        answer.set()


def test_ctrl_c_before_the_first_prompt_leaves_a_clean_terminal(terminal):
    asked, answer = threading.Event(), threading.Event()

    def hold_back(_):
        asked.set()
        return answer.wait(60)

    with LocalServer(api_key=hold_back) as server:
        chat = terminal(prompt=False, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk-any")
        assert asked.wait(60)
        chat.press(CTRL_C)
        chat.until("Stopped")
        answer.set()
        assert chat.ended() == 130
    assert chat.settings == chat.before
    assert chat.raw.rfind("\x1b[?25l") < chat.raw.rfind("\x1b[?25h")
    assert "Traceback" not in chat.text


@pytest.mark.parametrize(("key", "code"), [(CTRL_C, 130), (CTRL_D, 0)])
def test_a_person_may_leave_at_the_prompt_and_finds_a_clean_terminal(terminal, key, code):
    chat = terminal("--local")
    chat.press(key)
    assert chat.ended() == code
    assert is_clean(chat)
    assert "Traceback" not in chat.text


def test_a_person_may_leave_at_a_question_and_answers_it_in_the_next_chat(terminal):
    first = terminal(*SCRIPT, "--db", "chat.db")
    first.type("How is the weather?")
    first.until(r"output of get_weather \(JSON or text\):")
    first.press(CTRL_D)
    assert first.ended() == 0
    assert is_clean(first)
    assert "To continue: gpt-agent-fsm chat --script script.yaml --db chat.db" in first.text
    second = terminal(*SCRIPT, "--db", "chat.db", prompt=False)
    assert "> How is the weather?\n" in second.until(r"output of get_weather \(JSON or text\):")
    second.type("21")
    assert "It is 21 now." in second.prompted()
    second.press(UP)
    second.until(r"How is the weather\?")


def test_the_tab_key_completes_a_command(terminal):
    chat = terminal("--local")
    chat.press("/us\t")
    chat.until("/usage")
    chat.type("")
    assert "0 tokens in 0 runs" in chat.prompted()


def test_a_failed_run_is_red_and_the_chat_continues(terminal):
    chat = terminal(*SCRIPT)
    chat.type("break it")
    assert "Error: It is broken. (server_error)" in chat.prompted()
    assert "\x1b[31mError" in chat.raw
    chat.press(CTRL_D)
    assert chat.ended() == 0


def test_there_are_no_colours_if_nobody_wants_them(terminal):
    chat = terminal(*SCRIPT, NO_COLOR="1")
    chat.type("break it")
    chat.until("Error: It is broken")
    assert "\x1b[31m" not in chat.raw


def test_a_terminal_without_capabilities_gets_plain_lines(terminal):
    chat = terminal("--local", prompt=False, TERM="dumb")
    chat.until("> ")
    chat.type("Hello")
    assert "You said: Hello" in chat.until("> $")
    assert "\x1b" not in chat.raw
    chat.press(CTRL_D)
    assert chat.ended() == 0
