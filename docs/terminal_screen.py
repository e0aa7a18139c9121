"""What a terminal shows after a program has written to it, and a picture of it. `docs/screenshots.py` uses this.

It knows only the control sequences that rich and prompt_toolkit write for a program that does not use the whole screen.
"""

from __future__ import annotations

import io
import itertools
import re

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

__all__ = ["TerminalScreen", "svg_of"]

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b[=>78]|[\x07\x08\n\r]|[^\x1b\x07\x08\n\r]")
_BLANK = (" ", "")


class TerminalScreen:
    """The lines of a terminal, with their colours. Long lines are wrapped, and nothing scrolls away."""

    def __init__(self, written: str, columns: int) -> None:
        self._columns = columns
        self._rows: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ""
        for token in _TOKEN.finditer(written):
            if token[2]:
                self._obey(token[2], token[1])
            else:
                self._write(token[0])

    @property
    def text(self) -> Text:
        """The screen with its colours, without blank lines at the end."""
        return Text("\n").join(map(_line, self._rows[: self._last() + 1]))

    def _last(self) -> int:
        return max((number for number, row in enumerate(self._rows) if any(each != _BLANK for each in row)), default=0)

    def _write(self, char: str) -> None:
        match char:
            case "\r":
                self._column = 0
            case "\n":
                self._move(self._row + 1)
            case "\x08":
                self._column = max(self._column - 1, 0)
            case _ if char.isprintable():
                if self._column == self._columns:
                    self._column = 0
                    self._move(self._row + 1)
                row = self._rows[self._row]
                row.extend([_BLANK] * (self._column + 1 - len(row)))
                row[self._column] = (char, self._style)
                self._column += 1

    def _obey(self, command: str, parameters: str) -> None:
        count = int(parameters) if parameters.isdecimal() else 1
        row = self._rows[self._row]
        match command:
            case "m":
                starts_again = parameters.partition(";")[0] in ("", "0")
                self._style = ("" if starts_again else self._style) + f"\x1b[{parameters}m"
            case "A":
                self._move(max(self._row - count, 0))
            case "B":
                self._move(self._row + count)
            case "C":
                self._column += count
            case "D":
                self._column = max(self._column - count, 0)
            case "K":
                del row[0 if parameters == "2" else self._column :]
            case "J":
                del row[self._column :], self._rows[self._row + 1 :]
            case "h" | "l":
                pass  # the cursor, the wrapping of lines, and how a paste arrives
            case _:
                raise ValueError(f"the sequence {parameters}{command} is unknown; add it to TerminalScreen")

    def _move(self, row: int) -> None:
        self._row = row
        self._rows.extend([] for _ in range(row + 1 - len(self._rows)))


def _line(row: list[tuple[str, str]]) -> Text:
    groups = itertools.groupby(row, key=lambda each: each[1])
    return Text.from_ansi("".join(f"\x1b[0m{style}{''.join(char for char, _ in group)}" for style, group in groups))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


# The dark colours of the diagrams: black, red, green, yellow, blue, magenta, cyan, white.
_COLOURS = ["#14181f", "#f58680", "#7bd08a", "#e5b64b", "#6db3f8", "#bd95f5", "#52cbb2", "#e6eaf0"]
_THEME = TerminalTheme(_rgb("#14181f"), _rgb("#e6eaf0"), list(map(_rgb, _COLOURS)))
# Rich names a font that a browser would fetch from another server.
_FETCHED_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono'"


def svg_of(text: Text, columns: int, title: str) -> str:
    """Return a picture of a terminal with this text and this title. The same text gives the same picture."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    # The picture would cut off the lower part of the letters in its last line.
    console.print(text, "", sep="\n", soft_wrap=True)
    picture = _FETCHED_FONT.sub("", console.export_svg(title=title, theme=_THEME))
    return "\n".join(line.rstrip() for line in picture.replace("Fira Code", _FONT).splitlines()) + "\n"
