"""The axis of a timeline: the place of each time, and the pauses that are cut out."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

__all__ = ["Axis", "Chapter", "axis_of", "clock", "duration", "ticks_of"]

_MIN_PAUSE = 60.0
"""Pauses below this number of seconds are never cut out."""
_FACTOR = 5.0
_MAX_CHAPTERS = 12
_DAY = 86400
_STEPS = [
    *(base * 10**power for power in range(-3, 1) for base in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200),
]
"""The usual distances between ticks, in seconds. Longer distances are whole days."""


@attrs.frozen
class Chapter:
    """A stretch of time without a long pause, and where it is on the axis."""

    start: float
    end: float
    left: float
    width: float


@attrs.frozen
class Axis:
    """Maps times to places. Between two chapters a pause is cut out."""

    chapters: tuple[Chapter, ...]

    @property
    def start(self) -> float:
        """The first time on the axis. Older records are not shown."""
        return self.chapters[0].start if self.chapters else 0.0

    def place(self, time: float) -> float:
        """Return the place of a time. A time within a pause is at the end of the chapter before the pause."""
        number = bisect.bisect_right([chapter.start for chapter in self.chapters], time) - 1
        chapter = self.chapters[max(number, 0)]
        part = (min(max(time, chapter.start), chapter.end) - chapter.start) / ((chapter.end - chapter.start) or 1.0)
        return chapter.left + part * chapter.width

    @property
    def pauses(self) -> list[tuple[float, float]]:
        """The pauses that are cut out: the place of each, and its length in seconds."""
        return [
            ((one.left + one.width + other.left) / 2, other.start - one.end)
            for one, other in itertools.pairwise(self.chapters)
        ]


def axis_of(times: Sequence[float], left: float, width: float, gap: float) -> Axis:
    """Return an axis for these times, which are in order. `gap` is the room for a pause that is cut out.

    Without times, the axis has no chapters.

    Long pauses are cut out, because they would squash everything else. A pause is long if it is much longer than all
    shorter pauses together. If there are too many long pauses, the axis shows only the last chapters.
    """
    if not times:
        return Axis(())
    limit = _limit(times)
    stretches: list[list[float]] = [[times[0]]]
    for before, time in itertools.pairwise(times):
        if time - before >= limit:
            stretches.append([])
        stretches[-1].append(time)
    stretches = stretches[-_MAX_CHAPTERS:]
    room = width - gap * (len(stretches) - 1)
    # A third of the room is shared evenly, so that a short chapter can be seen beside a long one.
    even, total = room / 3 / len(stretches), sum(each[-1] - each[0] for each in stretches)
    chapters, place = [], left
    for each in stretches:
        share = (each[-1] - each[0]) / total if total else 1 / len(stretches)
        chapters.append(Chapter(each[0], each[-1], place, even + share * room * 2 / 3))
        place += chapters[-1].width + gap
    return Axis(tuple(chapters))


def _limit(times: Sequence[float]) -> float:
    """Return the length in seconds of the shortest long pause. Return infinity if no pause is long."""
    shorter = 0.0
    for pause in sorted(after - before for before, after in itertools.pairwise(times)):
        if pause >= _MIN_PAUSE and pause > _FACTOR * shorter > 0:
            return pause
        shorter += pause
    return float("inf")


def ticks_of(chapter: Chapter, distance: float) -> list[tuple[float, str]]:
    """Return the places of a chapter's ticks, at least `distance` apart, each with the time since the chapter began."""
    length = chapter.end - chapter.start
    count = int(chapter.width / distance)
    if not length or not count:
        return []
    step = next((step for step in _STEPS if length / step <= count), _DAY * -(-length // (_DAY * count)))
    return [
        (chapter.left + number * step / length * chapter.width, f"+{duration(number * step)}")
        for number in range(1, int(length / step) + 1)
    ]


def clock(at: float, form: str = "%H:%M:%S") -> str:
    """Return a time as text in UTC. If the calendar does not have this time, return the bare number of seconds."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def duration(seconds: float) -> str:
    """Return a number of seconds as text, with its two largest units: "40 ms", "2.5 s", "3 min 20 s", "2 d 4 h"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    units = [("d", _DAY), ("h", 3600), ("min", 60), ("s", 1)]
    number, rest = next(i for i, (_, size) in enumerate(units) if seconds >= size), int(seconds)
    parts = []
    for name, size in units[number : number + 2]:
        parts += [f"{rest // size} {name}"] * (rest >= size)
        rest %= size
    return " ".join(parts)
