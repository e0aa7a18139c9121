"""Draws tables of figures as horizontal bars, in the style of the library's pictures: SVG, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.tables import Row, Table
from gpt_agent_fsm import State
from gpt_agent_fsm.diagrams.layout import Box
from gpt_agent_fsm.diagrams.picture import open_svg
from gpt_agent_fsm.diagrams.style import Rules, Theme, style_sheet

_WIDTH, _MARGIN, _LINE, _BAR = 960.0, 24.0, 26.0, 16.0
_NAMES, _FIGURES = 320.0, 150.0
"""The width of the column with the names, and of the place for the figure beside the longest bar."""
_OURS, _THEIRS = State.RUNNING, State.IDLE
_COMMON = {"text.name": "font-weight:bold", ".bar": "stroke-width:1.5", ".end": "text-anchor:end"}


def bars(title: str, tables: Sequence[Table]) -> str:
    """Return the picture of these tables. In each table, the longest bar has the full width."""
    drawn = [table for table in tables if all(row.ratio is not None for row in table.rows)]
    height = 2 * _MARGIN + _LINE + sum((len(table.rows) + 2) * _LINE for table in drawn)
    body: list[str] = []
    top = _MARGIN + _LINE
    for table in drawn:
        body += _table(table, top)
        top += (len(table.rows) + 2) * _LINE
    lines = [
        *open_svg(
            "bars", Box("", _WIDTH / 2, height / 2, _WIDTH, height), title, style_sheet("bars", _COMMON, _themed)
        ),
        f'<rect class="page" width="{_WIDTH:g}" height="{height:g}" rx="10"/>',
        _text("note", _MARGIN, _MARGIN + 14, title),
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _table(table: Table, top: float) -> Iterator[str]:
    """Yield the title of a table, and its bars."""
    yield _text("name", _MARGIN, top + _LINE, table.title)
    longest = max(row.ratio or 0.0 for row in table.rows)
    for number, row in enumerate(table.rows, 1):
        yield from _row(row, top + number * _LINE, (row.ratio or 0.0) / longest)


def _row(row: Row, top: float, share: float) -> Iterator[str]:
    """Yield the name, the bar and the figure of a row. `share` is the length of the bar, and 1 is the longest one."""
    left = _MARGIN + _NAMES
    width = share * (_WIDTH - _MARGIN - left - _FIGURES)
    middle, name = top + _LINE, row.name.replace("`", "")
    style = _OURS if "library" in name or "gpt-agent-fsm" in name else _THEIRS
    yield _text("input end", left - 12, middle, name)
    yield (f'<rect class="bar {style}" x="{left:g}" y="{middle - 13:g}" width="{width:.1f}" height="{_BAR:g}" rx="3"/>')
    yield _text("input", left + width + 10, middle, f"{row.ratio:.2f}")
    yield _text("note", left + width + 50, middle, row.figure)


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:g}">{escape(text)}</text>'


def _themed(theme: Theme) -> Rules:
    rules = {".page": f"fill:{theme.page}", ".input,.name": f"fill:{theme.ink}", ".note": f"fill:{theme.soft}"}
    return rules | {
        f".bar.{state}": f"fill:{theme.fill(state)};stroke:{theme.line(state)}" for state in (_OURS, _THEIRS)
    }
