"""Where the lines of a chat come from: a pipe, or a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

__all__ = ["Lines", "Prompt", "Reader"]


class Reader(Protocol):
    """Reads lines. Both methods raise `EOFError` at the end, and `KeyboardInterrupt` after Ctrl-C."""

    def message(self) -> str:
        """Return the next message or command."""

    def answer(self, question: str) -> str:
        """Return the answer to a question."""


class Lines:
    """Reads the lines of stdin. It prompts for messages only if a person types the lines."""

    def __init__(self) -> None:
        self._stdin = sys.stdin
        self._prompts = sys.stdin.isatty()

    def message(self) -> str:
        """See `Reader.message`."""
        return self._line("> ") if self._prompts else self._line("")

    def answer(self, question: str) -> str:
        """See `Reader.answer`."""
        return self._line(question)

    def _line(self, prompt: str) -> str:
        click.echo(prompt, nl=False, err=True)
        line = self._stdin.readline()
        if prompt and not self._prompts:
            click.echo(err=True)
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


class Prompt:
    """Asks a person at a terminal, who can edit the line. The arrow keys bring back earlier messages.

    Args:
        earlier: the earlier messages of the person, oldest first.
        commands: the words that the Tab key completes.
    """

    def __init__(self, earlier: Iterable[str], commands: Iterable[str]) -> None:
        from prompt_toolkit import PromptSession  # noqa: PLC0415 - an extra
        from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415
        from prompt_toolkit.history import InMemoryHistory  # noqa: PLC0415

        self._messages: PromptSession[str] = PromptSession(
            history=InMemoryHistory(list(earlier)),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation="  ",
            completer=WordCompleter(list(commands), sentence=True),
            complete_while_typing=False,
        )
        self._answers: PromptSession[str] = PromptSession()

    def message(self) -> str:
        """See `Reader.message`."""
        return self._messages.prompt([("bold", "> ")])

    def answer(self, question: str) -> str:
        """See `Reader.answer`."""
        return self._answers.prompt(question)


def _keys() -> KeyBindings:
    """Return the keys: Enter sends, Alt-Enter begins a line, and Ctrl-C clears the text or, without a text, leaves."""
    from prompt_toolkit.key_binding import KeyBindings  # noqa: PLC0415 - an extra

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def clear_or_leave(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys
