"""What the commands print: tables, times, and JSON. Through a pipe, the output is plain text and nothing is cut off."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.engine.protocols import Record
from gpt_agent_fsm.engine.showing import json_value, printable, texts_of
from gpt_agent_fsm.engine.times import moment

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "is_terminal",
    "line_of",
    "paragraph",
    "plain_table",
    "print_json",
    "print_json_array",
    "rich_table",
]

_LAST = 24
"""The smallest width of the last column of a table."""
_GAP = 3
"""The width between two columns of a table."""


def is_terminal() -> bool:
    """Return whether a person reads the output on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_json(value: object) -> None:
    """Print a value as JSON in ASCII, which passes through every pipe, whatever the texts of the model contain."""
    click.echo(json.dumps(value, default=json_value))


def print_json_array(values: Sequence[object]) -> None:
    """Print an array with one value per line. Python's own indentation would take several times as long."""
    lines = ",\n".join(json.dumps(value, default=json_value) for value in values)
    click.echo(f"[\n{lines}\n]" if values else "[]")


def line_of(record: Record) -> str:
    """Return a record as one line of text."""
    return printable(f"{record.seq:>5}  {moment(record.at)}  {type(record.event).__name__}  {texts_of(record)}")


def paragraph(text: str) -> str:
    """Return a text as `printable` does. On a terminal, its lines end between words."""
    text = printable(text)
    if not is_terminal():
        return text
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in columns that are as wide as their texts, separated by two spaces."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)
    )


def rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> RenderableType:
    """Return a table that fits the width of the terminal. Long texts are wrapped, so that no id is cut off.

    If too little width is left for the last column, each row becomes a few lines, which name the columns.
    """
    from rich import box  # noqa: PLC0415 - only for a terminal
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns[:-1]]
    if rows and sum(widths) + _GAP * len(widths) + _LAST > (width or shutil.get_terminal_size().columns):
        return Group(*(line for row in rows for line in _lines(heads, row)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads[:-1]:
        table.add_column(head, no_wrap=True)
    table.add_column(heads[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    return table


def _lines(heads: Sequence[str], row: Sequence[str]) -> Iterator[RenderableType]:
    """Yield the lines of a row of a table that is too wide: the first two columns, the others, and the last one."""
    from rich.padding import Padding  # noqa: PLC0415 - only for a terminal
    from rich.text import Text  # noqa: PLC0415

    named = [f"{head}: {text}" for head, text in zip(heads[2:-1], row[2:-1], strict=True)]
    yield Text(f"{row[0]}  {row[1]}", style="bold", overflow="fold")
    for text in ("   ".join(named), f"{heads[-1]}: {row[-1]}"):
        yield Padding(Text(text, overflow="fold"), (0, 0, 0, 2))
    yield Text("")
