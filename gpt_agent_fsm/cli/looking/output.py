"""What the commands print: tables, times, and JSON. Through a pipe, the output is plain text and nothing is cut off."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.engine.protocols import Record
from gpt_agent_fsm.engine.showing import json_value, printable, texts_of
from gpt_agent_fsm.engine.times import moment

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "is_terminal",
    "line_of",
    "paragraph",
    "plain_table",
    "print_json",
    "print_json_array",
    "rich_table",
]

_SHORT = 16
"""The texts of a column are not wrapped if none is longer than this."""


def is_terminal() -> bool:
    """Return whether a person reads the output on a terminal."""
    return sys.stdout.isatty()


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


def rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table that fits the width of the terminal. Long texts are wrapped, so that no id is cut off."""
    from rich import box  # noqa: PLC0415 - only for a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in zip(heads, *rows, strict=True):
        table.add_column(column[0], no_wrap=max(map(len, column)) <= _SHORT, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    return table
