"""Draws a timeline as an SVG picture that needs no browser, no plotting library, no fonts and no network."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from html import escape

from gpt_agent_fsm.diagrams.axis import Axis, axis_of, clock, duration, ticks_of
from gpt_agent_fsm.diagrams.lanes import Lane, Measure, Placed, caption, lanes_of, rows_of
from gpt_agent_fsm.diagrams.layout import Box
from gpt_agent_fsm.diagrams.picture import open_svg
from gpt_agent_fsm.diagrams.style import Rules, Theme, style_sheet
from gpt_agent_fsm.diagrams.timeline import Timeline
from gpt_agent_fsm.machine.states import State

__all__ = ["timeline_styles", "timeline_svg"]

_WIDTH, _MARGIN, _COLUMN = 960.0, 24.0, 96.0
_LINE, _ROW, _BAR, _PAD = 20.0, 24.0, 18.0, 8.0
_GAP = 34.0
# Names stand close to bars, so the assumed letter is that of a wide font.
_MEASURE = Measure(letter=8.2, space=5, narrowest=4, left=_MARGIN + _COLUMN, right=_WIDTH - _MARGIN)
_TICK = 90.0
_COMMON = {
    "text.name": "font-size:16px;font-weight:bold",
    ".end": "text-anchor:end",
    ".bar": "stroke-width:1.5",
    ".bar.open": "stroke-dasharray:4 3",
    ".pause": "stroke-width:1.5;stroke-dasharray:2 4",
    ".tick": "stroke-width:1;opacity:.35",
}


@functools.cache
def timeline_styles() -> str:
    """Return the style sheet of the pictures of timelines."""
    return style_sheet("timeline", _COMMON, _themed)


def timeline_svg(timeline: Timeline, *, styled: bool = True) -> str:
    """Return a timeline as an SVG picture.

    With `styled=False`, the picture has no styles of its own. A page with such pictures needs `timeline_styles()`.
    """
    if not isinstance(timeline, Timeline):
        raise TypeError(f"timeline_svg: pass a Timeline, as timeline_of() returns, not a {type(timeline).__name__}")
    axis = axis_of(timeline.times, _MEASURE.left, _MEASURE.right - _MEASURE.left, _GAP)
    lanes = lanes_of(timeline, axis, _MEASURE)
    head, top = _labels(axis, _MARGIN + 3 * _LINE)
    body: list[str] = []
    bottom = top
    for lane in lanes:
        body += _lane(lane, bottom)
        bottom += max(lane.rows, 2 if lane.hidden else 1) * _ROW + 2 * _PAD
    legend, end = _legend(lanes, bottom + _LINE)
    page = Box("", _WIDTH / 2, (end + _MARGIN) / 2, _WIDTH, end + _MARGIN)
    lines = [
        *open_svg("timeline", page, f"The timeline of {timeline.thread_id}", timeline_styles() if styled else None),
        f'<rect class="page" width="{page.width:g}" height="{page.height:g}" rx="10"/>',
        _text("name", _MARGIN, _MARGIN + 14, timeline.thread_id),
        _text("note", _MARGIN, _MARGIN + 14 + _LINE, caption(timeline, axis)),
        *head,
        *_guides(axis, top, bottom),
        *body,
        *legend,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _labels(axis: Axis, top: float) -> tuple[list[str], float]:
    """Return the labels of the axis, and the place below them."""
    labels = [(chapter.left, clock(chapter.start)) for chapter in axis.chapters]
    labels += [(place - _MEASURE.width(text) / 2, text) for place, text in _pauses(axis)]
    for chapter in axis.chapters:
        room = chapter.left + _MEASURE.width(clock(chapter.start))
        ticks = ((place - _MEASURE.width(text) / 2, text) for place, text in ticks_of(chapter, _TICK))
        labels += [(left, text) for left, text in ticks if left >= room]
    labels = sorted((min(left, _MEASURE.right - _MEASURE.width(text)), text) for left, text in labels)
    rows = rows_of([(left, left + _MEASURE.width(text)) for left, text in labels], len(labels))
    texts = [
        _text("note", left + _MEASURE.space, top + (row or 0) * _LINE, text)
        for (left, text), row in zip(labels, rows, strict=True)
    ]
    return texts, top + max((row or 0 for row in rows), default=0) * _LINE + _PAD


def _pauses(axis: Axis) -> list[tuple[float, str]]:
    return [(place, f"⋯ {duration(seconds)}") for place, seconds in axis.pauses]


def _guides(axis: Axis, top: float, bottom: float) -> Iterator[str]:
    """Yield the lines that lead down from the labels of the axis."""
    for place, _ in axis.pauses:
        for x in (place - 3, place + 3):
            yield f'<path class="pause" d="M{x:g} {top:g} V{bottom:g}"/>'
    for chapter in axis.chapters:
        for place in (chapter.left, *(place for place, _ in ticks_of(chapter, _TICK))):
            yield f'<path class="tick" d="M{place:g} {top:g} V{bottom:g}"/>'


def _lane(lane: Lane, top: float) -> Iterator[str]:
    """Yield the name of a lane and its bars."""
    yield _text("input", _MARGIN, top + _PAD + 14, lane.name)
    if lane.hidden:
        yield _text("note", _MARGIN, top + _PAD + 14 + _LINE, f"+{lane.hidden} more")
    for placed in lane.bars:
        bar, y = placed.bar, top + _PAD + placed.row * _ROW
        style = f"bar {bar.colour}{' open' * bar.is_open}"
        size = f'x="{placed.left:g}" y="{y:g}" width="{placed.right - placed.left:g}" height="{_BAR:g}"'
        length = "" if bar.start == bar.end else f", {duration(bar.end - bar.start)}{', not ended' * bar.is_open}"
        title = f"{bar.name}: {clock(bar.start)}{length}"
        yield f'<rect class="{style}" {size} rx="3"><title>{escape(title)}</title></rect>'
        if placed.name:
            yield _name(placed, y + 14)


def _name(placed: Placed, y: float) -> str:
    """Return the name of a bar. A name beside its bar hides the lines behind the name."""
    if placed.left <= placed.name_left < placed.right:
        return _text("input", placed.name_left, y, placed.name)
    if placed.name_left > placed.left:
        return _text("input beside", placed.name_left, y, placed.name)
    # A name on the left of its bar is aligned by its end, because its width depends on the font.
    return _text("input beside end", placed.left - _MEASURE.space, y, placed.name)


def _legend(lanes: list[Lane], y: float) -> tuple[list[str], float]:
    """Return the colours of states and of other bars, and the border of an open bar; and the place below them."""
    bars = [(lane.name, placed.bar) for lane in lanes for placed in lane.bars]
    found = {bar.colour for name, bar in bars if name == "state"}
    meanings: dict[str, str] = {state: str(state) for state in State if state in found}
    for name, bar in bars:
        meanings.setdefault(bar.colour, name)
    if any(bar.is_open and bar.end > bar.start for _, bar in bars):
        meanings["idle open"] = "not ended"
    lines, x = [], _MEASURE.left
    for style, meaning in meanings.items():
        width = 18 + _MEASURE.width(meaning)
        if x + width > _MEASURE.right:
            x, y = _MEASURE.left, y + _LINE
        lines.append(f'<rect class="bar {style}" x="{x:g}" y="{y - 11:g}" width="12" height="12" rx="3"/>')
        lines.append(_text("note", x + 18, y, meaning))
        x += width + 2 * _PAD
    return lines, y


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _themed(theme: Theme) -> Rules:
    rules = {
        ".page": f"fill:{theme.page}",
        ".input,.name": f"fill:{theme.ink}",
        ".beside": f"stroke:{theme.page};stroke-width:4;paint-order:stroke",
        ".note": f"fill:{theme.soft}",
        ".pause,.tick": f"stroke:{theme.soft}",
    }
    return rules | {f".bar.{state}": f"fill:{theme.fill(state)};stroke:{theme.line(state)}" for state in State}
