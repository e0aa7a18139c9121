"""Ask a person about tool calls: for the outputs of calls that no function answers, and for approvals."""

from __future__ import annotations

import functools
import getpass
import signal
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from gpt_agent_fsm import Agent, events
from gpt_agent_fsm.cli.chat.reader import Reader
from gpt_agent_fsm.cli.chat.screen import Screen, shown
from gpt_agent_fsm.cli.chat.slash_commands import CANCEL, COMMANDS, QUIT, Commands

__all__ = ["Cancelled", "Leave", "Questions"]

_Call: TypeAlias = events.ToolApprovalRequested | events.ToolCallRequested


class Leave(Exception):
    """A person leaves the chat."""


class Cancelled(Exception):
    """A person cancels the run.

    Attributes:
        by_signal: True if the person has pressed Ctrl-C.
    """

    def __init__(self, *, by_signal: bool) -> None:
        super().__init__(by_signal)
        self.by_signal = by_signal


class Questions:
    """Asks about the tool calls that wait for a person.

    If a person leaves the chat or cancels the run instead of answering, the methods raise `Leave` or `Cancelled`. At
    the end of the lines, they raise `EOFError`. A call stays open until it is answered.
    """

    def __init__(self, agent: Agent, screen: Screen, reader: Reader, commands: Commands) -> None:
        self._agent = agent
        self._screen = screen
        self._reader = reader
        self._commands = commands

    def ask_about_open_calls(self) -> None:
        """Ask about the calls that an earlier chat has left open."""
        calls: tuple[_Call, ...] = (*self._agent.open_approvals, *self._agent.open_tool_calls)
        for call in calls:
            self._screen.call(f"  {call.name} {shown(call.arguments)}")
            self.ask_about(call)

    def ask_about(self, event: events.Event) -> None:
        """If the event is about a call that waits for a person, ask the person about the call."""
        match event:
            case events.ToolApprovalRequested(id=call_id):
                if any(call.id == call_id for call in self._agent.open_approvals):
                    self._ask(lambda: self._ask_for_approval(event))
            case events.ToolCallRequested(id=call_id) | events.ToolApproved(id=call_id):
                # An approved call also needs an answer from the person if its function is not among the tools of this
                # chat.
                call = next((call for call in self._agent.open_tool_calls if call.id == call_id), None)
                if call is not None:
                    self._ask(functools.partial(self._ask_for_output, call))
            case _:
                pass

    def _ask(self, ask: Callable[[], None]) -> None:
        self._screen.end_line()
        # The prompt handles Ctrl-C itself.
        inside = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            ask()
        except KeyboardInterrupt:
            raise Cancelled(by_signal=True) from None
        finally:
            signal.signal(signal.SIGINT, inside)
        self._screen.wait("waiting")

    def _ask_for_output(self, call: events.ToolCallRequested) -> None:
        line = self._answer(f"  output of {call.name} (JSON or text): ")
        self._screen.typed(call.id)
        self._agent.submit_tool_output(call.id, _value(line))

    def _ask_for_approval(self, call: events.ToolApprovalRequested) -> None:
        while True:
            word, _, reason = self._answer(f"  approve {call.name}? y or n, and perhaps a reason: ").partition(" ")
            if word.lower() in ("y", "yes"):
                self._agent.approve(call.id, by=_user(), note=reason.strip() or None)
                return
            if word.lower() in ("n", "no"):
                self._screen.typed(call.id)
                self._agent.deny(call.id, reason.strip(), by=_user())
                return
            self._screen.error(f"type y or n, not {word!r}")

    def _answer(self, question: str) -> str:
        """Return a line that is neither blank nor a command."""
        while True:
            line = self._reader.answer(question).strip()
            if line == QUIT:
                raise Leave
            if line == CANCEL:
                raise Cancelled(by_signal=False)
            if line in COMMANDS:
                self._commands.run(line)
            elif line:
                return line


def _value(line: str) -> object:
    """Return the JSON value of a line, or the line itself if it is not valid JSON."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError):
        return line


def _user() -> str | None:
    """Return the name of the user of this computer, or None if the user has no name."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return None
