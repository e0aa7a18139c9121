"""Draws a timeline as text, for a terminal, an issue or a log."""

from __future__ import annotations

import textwrap

from gpt_agent_fsm.diagrams.axis import Axis, axis_of, clock, duration
from gpt_agent_fsm.diagrams.lanes import Lane, Measure, Placed, caption, lanes_of, rows_of
from gpt_agent_fsm.diagrams.timeline import Timeline

__all__ = ["timeline_text"]

_WIDTH, _COLUMN, _GAP = 100, 12, 4
_NARROWEST = 60


def timeline_text(timeline: Timeline, *, width: int = _WIDTH) -> str:
    """Return a timeline as lines of at most `width` columns. A bar is `├──┤`, or `├──>` if it had not ended.

    Raises `ValueError` if `width` is less than 60.
    """
    if width < _NARROWEST:
        raise ValueError(f"timeline_text: width must be at least {_NARROWEST}, not {width}")
    # Bars at the last time need a column, too.
    axis = axis_of(timeline.times, _COLUMN, width - _COLUMN - 1, _GAP)
    lines = [timeline.thread_id, *textwrap.wrap(caption(timeline, axis), width), "", *_head(axis, width)]
    for lane in lanes_of(timeline, axis, Measure(letter=1, space=1, narrowest=1, left=_COLUMN, right=width)):
        lines += _lane(lane, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(axis: Axis, width: int) -> list[str]:
    """Return the lines with the times at which chapters begin, and with the pauses between them."""
    labels = [(chapter.left, clock(chapter.start)) for chapter in axis.chapters]
    labels += [(place - 1, f"~{duration(seconds)}~") for place, seconds in axis.pauses]
    placed = sorted((min(int(left), width - len(text)), text) for left, text in labels)
    rows = rows_of([(left, left + len(text) + 1) for left, text in placed], len(placed))
    canvas = _Canvas(width)
    for (left, text), row in zip(placed, rows, strict=True):
        canvas.write(row or 0, left, text)
    return canvas.lines


def _lane(lane: Lane, width: int) -> list[str]:
    canvas = _Canvas(width)
    for placed in lane.bars:
        canvas.write(placed.row, int(placed.left), _bar(placed, is_state=lane.name == "state"))
        if placed.name:
            canvas.write(placed.row, int(placed.name_left), placed.name)
    lines = canvas.lines
    lines[0] = lane.name + lines[0][len(lane.name) :]
    return lines + [f"{'':{_COLUMN}}+{lane.hidden} more"] * bool(lane.hidden)


def _bar(placed: Placed, *, is_state: bool) -> str:
    width = max(int(placed.right) - int(placed.left), 1)
    if placed.bar.start == placed.bar.end and not is_state:
        return "●"
    if width == 1:
        return "│"
    return "├" + "─" * (width - 2) + ("─" if is_state else ">" if placed.bar.is_open else "┤")


class _Canvas:
    """Lines of text that can be written at any place."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows: dict[int, list[str]] = {}

    def write(self, row: int, column: int, text: str) -> None:
        """Write a text at this place, over any earlier text."""
        letters = self._rows.setdefault(row, [" "] * self._width)
        letters[column : column + len(text)] = text

    @property
    def lines(self) -> list[str]:
        """The rows from the top down."""
        return ["".join(self._rows.get(row, [" "] * _COLUMN)) for row in range(max(self._rows, default=-1) + 1)]
