"""Shows a chat on a terminal, with colours, and with a mark that moves while something is awaited."""

from __future__ import annotations

import re

from rich.console import Console
from rich.status import Status
from rich.text import Text

from gpt_agent_fsm.cli.chat.screen import Screen

__all__ = ["Colours"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters with which a text could control the terminal. Tabs and newlines are not among them."""


class Colours(Screen):
    """Shows a chat on a terminal.

    Args:
        console: the terminal; by default that of stdout.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False)
        self._status: Status | None = None

    def _print(self, text: str, style: str = "", end: str = "\n") -> None:
        harmless = _CONTROL.sub("", text.replace("\r\n", "\n"))
        # Without soft_wrap, each piece would be wrapped as if it began a line.
        self._console.print(Text(harmless, style), end=end, soft_wrap=True)

    def _write(self, text: str) -> None:
        self._print(text, end="")

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        self.end_line()
        self._print(text, "dim")

    def call(self, text: str) -> None:
        """See `Screen.call`."""
        self.end_line()
        self._print(text, "magenta")

    def error(self, text: str) -> None:
        """See `Screen.error`."""
        self.end_line()
        self._print(f"Error: {text}", "red")

    def result(self, text: str) -> None:
        """See `Screen.result`."""
        self.end_line()
        self._print(text, "cyan")

    def said(self, role: str, text: str) -> None:
        """See `Screen.said`."""
        self.end_line()
        self._print(f"> {text}" if role == "user" else text, "bold" if role == "user" else "")

    def wait(self, text: str) -> None:
        """See `Screen.wait`."""
        if self._line_is_open:
            return
        if self._status is None:
            self._status = self._console.status(Text(text, "dim"), spinner="dots")
            self._status.start()
        else:
            self._status.update(Text(text, "dim"))

    def rest(self) -> None:
        """See `Screen.rest`."""
        if self._status is not None:
            self._status.stop()
            self._status = None
