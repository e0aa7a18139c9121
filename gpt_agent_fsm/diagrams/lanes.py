"""Places the bars of a timeline and their names. Each renderer gives its own units as a `Measure`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from gpt_agent_fsm.diagrams.axis import Axis, clock, duration
from gpt_agent_fsm.diagrams.timeline import LANES, Bar, Timeline

__all__ = ["Lane", "Measure", "Placed", "caption", "lanes_of", "rows_of"]

_MAX_ROWS = 8
"""The maximum number of rows of a lane. It limits the size of a picture, whatever the history is."""


@attrs.frozen
class Measure:
    """The units of a renderer: the width of a letter, the space around a name, the narrowest bar, and the borders."""

    letter: float
    space: float
    narrowest: float
    left: float
    right: float

    def width(self, text: str) -> float:
        """Return the width that a text needs."""
        return len(text) * self.letter + 2 * self.space


@attrs.frozen
class Placed:
    """A bar in a row of its lane, and the left end of its name. `name` is "" if there is no room for it."""

    bar: Bar
    left: float
    right: float
    name: str
    name_left: float
    row: int = 0


@attrs.frozen
class Lane:
    """The bars of a lane. `hidden` is the number of bars for which there was no row."""

    name: str
    bars: tuple[Placed, ...]
    rows: int
    hidden: int


def caption(timeline: Timeline, axis: Axis) -> str:
    """Return when the timeline begins, how long it is, and what it does not show."""
    if not timeline.times:
        return "There are no records: the history was pruned." if timeline.was_pruned else "There are no records yet."
    until_now = " until now" * timeline.lasts
    words = f"{clock(axis.start, '%Y-%m-%d %H:%M:%S UTC')}, {duration(timeline.end - axis.start)}{until_now}."
    if axis.pauses:
        words += " Long pauses are cut out."
    if timeline.left_out or axis.start > timeline.start:
        words += " Older records are not shown."
    if timeline.was_pruned:
        words += " Older records were pruned."
    state = next((bar.name for bar in reversed(timeline.bars) if bar.lane == "state"), None)
    # The last state begins with one of the last records, so it has no room for its name.
    return words if state is None else f"{words} The last state is {state}."


def lanes_of(timeline: Timeline, axis: Axis, measure: Measure) -> list[Lane]:
    """Return the lanes that have bars, from the top down."""
    lanes = []
    for name in LANES:
        shown = [bar for bar in timeline.bars if bar.lane == name and bar.end >= axis.start]
        if name == "state":
            # The states follow each other without gaps, so a name fits into its own bar or nowhere.
            states = tuple(_placed(bar, axis, measure, outside=False) for bar in shown)
            lanes.append(Lane(name, states, 1, 0))
        elif shown:
            lanes.append(_packed(name, [_placed(bar, axis, measure, outside=True) for bar in shown], measure))
    return [lane for lane in lanes if lane.bars]


def _placed(bar: Bar, axis: Axis, measure: Measure, *, outside: bool) -> Placed:
    """Place a bar. Its name is in the bar if it fits there, else beside the bar if `outside`, else nowhere."""
    left = min(axis.place(bar.start), measure.right - measure.narrowest)
    right = max(axis.place(bar.end), left + measure.narrowest)
    need = measure.width(bar.name)
    if need <= right - left:
        return Placed(bar, left, right, bar.name, left + measure.space)
    if not outside:
        return Placed(bar, left, right, "", left)
    at = right if right + need <= measure.right else max(left - need, measure.left)
    return Placed(bar, left, right, bar.name, at + measure.space)


def _packed(name: str, bars: Sequence[Placed], measure: Measure) -> Lane:
    def room(placed: Placed) -> tuple[float, float]:
        start = placed.name_left - measure.space
        return min(placed.left, start), max(placed.right, start + measure.width(placed.name))

    ordered = sorted(bars, key=room)
    rows = rows_of([room(placed) for placed in ordered], _MAX_ROWS)
    kept = tuple(attrs.evolve(placed, row=row) for placed, row in zip(ordered, rows, strict=True) if row is not None)
    return Lane(name, kept, 1 + max(placed.row for placed in kept), len(bars) - len(kept))


def rows_of(rooms: Sequence[tuple[float, float]], most: int) -> list[int | None]:
    """Return a row for each room, so that no two rooms of a row overlap. The rooms are ordered by their left ends.

    There are at most `most` rows. If none of them is free for a room, the result for this room is None.
    """
    ends: list[float] = []
    rows: list[int | None] = []
    for left, right in rooms:
        row = next((number for number, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        rows.append(row if row < most else None)
    return rows
