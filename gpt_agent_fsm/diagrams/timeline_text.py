"""Draws a timeline as text, for a terminal, an issue or a log."""

from __future__ import annotations

import textwrap

from gpt_agent_fsm.diagrams.axis import Axis, axis_of, clock, duration
from gpt_agent_fsm.diagrams.lanes import Lane, Measure, Placed, caption, lanes_of, rows_of
from gpt_agent_fsm.diagrams.timeline import Timeline

__all__ = ["timeline_text"]

_WIDTH, _COLUMN, _GAP = 100, 12, 4
_MEASURE = Measure(letter=1, space=1, narrowest=1, left=_COLUMN, right=_WIDTH)


def timeline_text(timeline: Timeline) -> str:
    """Return a timeline as lines of at most 100 columns. A bar is `├──┤`, or `├──>` if it had not ended."""
    # Bars at the last time need a column, too.
    axis = axis_of(timeline.times, _COLUMN, _WIDTH - _COLUMN - 1, _GAP)
    lines = [timeline.thread_id, *textwrap.wrap(caption(timeline, axis), _WIDTH), "", *_head(axis)]
    for lane in lanes_of(timeline, axis, _MEASURE):
        lines += _lane(lane)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(axis: Axis) -> list[str]:
    """Return the lines with the times at which chapters begin, and with the pauses between them."""
    labels = [(chapter.left, clock(chapter.start)) for chapter in axis.chapters]
    labels += [(place - 1, f"~{duration(seconds)}~") for place, seconds in axis.pauses]
    placed = sorted((min(int(left), _WIDTH - len(text)), text) for left, text in labels)
    rows = rows_of([(left, left + len(text) + 1) for left, text in placed], len(placed))
    canvas = _Canvas()
    for (left, text), row in zip(placed, rows, strict=True):
        canvas.write(row or 0, left, text)
    return canvas.lines


def _lane(lane: Lane) -> list[str]:
    canvas = _Canvas()
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

    def __init__(self) -> None:
        self._rows: dict[int, list[str]] = {}

    def write(self, row: int, column: int, text: str) -> None:
        """Write a text at this place, over any earlier text."""
        letters = self._rows.setdefault(row, [" "] * _WIDTH)
        letters[column : column + len(text)] = text

    @property
    def lines(self) -> list[str]:
        """The rows from the top down."""
        return ["".join(self._rows.get(row, [" "] * _COLUMN)) for row in range(max(self._rows, default=-1) + 1)]
