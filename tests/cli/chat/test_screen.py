"""How the events of a conversation are shown."""

import io

import pytest
from rich.console import Console

from gpt_agent_fsm import File, Image, Text, events
from gpt_agent_fsm.cli.chat.colours import Colours
from gpt_agent_fsm.cli.chat.screen import Screen, shown

IDS = {"thread_id": "thread_1", "run_id": "run_1"}


class Shown:
    """What was shown on stdout and on stderr."""

    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *shown_events):
        screen = Screen()
        for event in shown_events:
            screen.show(event)
        screen.end_line()
        return tuple(self._capsys.readouterr())


@pytest.fixture
def show(capsys):
    return Shown(capsys)


@pytest.fixture
def terminal():
    """A screen with colours, and a function that returns the text that was written to it."""
    written = io.StringIO()
    screen = Colours(Console(file=written, force_terminal=True, width=40, color_system="standard"))
    return screen, written.getvalue


def piece(index, text, message="msg_1"):
    return events.AssistantMessageDelta(message_id=message, index=index, text=text, **IDS)


def message(content, message="msg_1", **more):
    return events.AssistantMessageAdded(
        message_id=message, assistant_id="asst_1", content=content, thread_id="thread_1", run_id="run_1", **more
    )


def call(id_="call_1", again=False, arguments=None):
    return events.ToolCallRequested(id=id_, name="see", arguments=arguments or {}, again=again, **IDS)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_message_is_shown_once_however_much_of_it_came_in_pieces(show, count):
    pieces = [piece(0, "It is "), piece(1, "wet.")][:count]
    assert show(*pieces, message("It is wet.")) == ("It is wet.\n", "")


def test_pieces_after_a_missing_one_are_not_shown_before_the_whole_message(show):
    assert show(piece(0, "It "), piece(2, "wet."), message("It is wet.")) == ("It is wet.\n", "")
    assert show(piece(1, "is "), piece(2, "wet."), message("It is wet.")) == ("It is wet.\n", "")


def test_a_message_that_differs_from_its_pieces_is_shown_on_a_new_line(show):
    assert show(piece(0, "It is"), message("No.")) == ("It is\nNo.\n", "")


def test_the_answer_of_a_second_run_begins_a_new_line(show):
    started = events.RunStarted(id="run_2", thread_id="thread_1", assistant_id="asst_1")
    limited = events.RateLimited(run_id="run_1", thread_id="thread_1", assistant_id="asst_1", retries_remaining=9)
    out, err = show(piece(0, "It"), limited, started, piece(0, "It is", "msg_2"), message("It is wet.", "msg_2"))
    assert out == "It\nIt is wet.\n"
    assert "9 retries left" in err


def test_a_message_of_an_earlier_run_is_not_shown(show):
    assert show(message("Old.", older=True)) == ("", "")


def test_a_tool_call_ends_the_line_of_the_answer(show, capsys):
    assert show(piece(0, "Let me see"), call()) == ("Let me see\n", "  see {}\n")


def test_a_call_that_another_chat_has_announced_is_not_shown_again(show):
    assert show(call(again=True)) == ("", "")


def test_long_arguments_are_shortened_to_one_line(show):
    _, err = show(call(arguments={"text": "a\nb" * 1000}))
    assert len(err) < 600
    assert err.count("\n") == 1
    assert "characters)" in err


def test_a_value_of_json_is_shown_as_json_and_a_text_as_it_is():
    assert (shown({"a": "é"}), shown('{"a":1}'), shown("two\nlines")) == ('{"a": "é"}', '{"a":1}', "two lines")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.ToolCallOutputRecorded(id="call_1", name="see", output="7", **IDS), "  -> 7"),
        (events.ToolDenied(id="call_1", thread_id="thread_1", reason="too late"), "  denied: too late"),
        (events.ToolDenied(id="call_1", thread_id="thread_1"), "  denied"),
        (events.ToolOutcomeUnknown(id="call_1", name="see", **IDS), "  see was started, and it is unknown"),
        (events.HostedToolUsed(kind="web_search", id="ws_1", details={}, **IDS), "  the server used web_search"),
        (events.ThreadStalled(thread_id="thread_1", reason="It waits.", since=0.0, next_look=None), "It waits."),
    ],
)
def test_other_events_are_lines_on_stderr(show, event, line):
    out, err = show(event)
    assert (out, err.startswith(line), err.count("\n")) == ("", True, 1)


def test_only_the_first_failure_of_a_request_is_shown(show):
    def failed(attempt, will_retry):
        return events.RequestFailed(
            thread_id="thread_1",
            operation="get_run",
            status=500,
            code=None,
            message="It failed.",
            attempt=attempt,
            will_retry=will_retry,
        )

    assert show(failed(1, True), failed(2, True), failed(3, False)) == ("", "It failed. Trying again.\n")


def test_images_and_files_are_named(show):
    parts = (
        Text("Here."),
        Image(file_id="file-1"),
        Image(url="https://a.b/c.png"),
        File(file_id="file-2", name="d.txt"),
    )
    assert show(message("Here.", parts=parts))[1].splitlines() == [
        "  image: file-1",
        "  image: https://a.b/c.png",
        "  file: d.txt file-2",
    ]


# --- on a terminal --------------------------------------------------------------------------------------------


def test_a_text_cannot_change_the_terminal(terminal):
    screen, written = terminal
    screen.show(message("\x1b]0;title\x07red\x1b[31m\r\nnext\ttab\x9b2J"))
    screen.show(call(arguments={"text": "\x1b[2J"}))
    assert "]0;titlered[31m\nnext" in written()
    assert not [each for each in ("\x07", "\x9b", "\x1b[31m", "\x1b[2J", "\x1b]") if each in written()]


def test_square_brackets_are_no_markup(terminal):
    screen, written = terminal
    screen.show(message("[bold]not bold[/bold] :smile:"))
    assert "[bold]not bold[/bold] :smile:" in written()


def test_pieces_are_not_wrapped_so_that_they_can_be_copied(terminal):
    screen, written = terminal
    words = "word " * 20
    for index in range(4):
        screen.show(piece(index, words))
    screen.show(message(words * 4))
    assert words * 4 in written()


def test_the_mark_of_a_wait_gives_way_to_an_answer_and_the_cursor_comes_back(terminal):
    screen, written = terminal
    screen.wait("waiting")
    screen.show(events.StateChanged(thread_id="thread_1", source="idle", dest="running", trigger="run_created"))
    screen.show(piece(0, "It is"))
    assert written().rindex("\x1b[?25l") < written().rindex("\x1b[?25h") < written().index("It is")
    screen.wait("running")
    screen.end_line()
    assert written().count("\x1b[?25l") == 1
