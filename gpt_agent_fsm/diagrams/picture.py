"""Draws a plan as an SVG picture that needs no other files, fonts, scripts or network."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from html import escape

from gpt_agent_fsm.diagrams.layout import Box, Plan, Point, Text, place
from gpt_agent_fsm.diagrams.model import Diagram, diagram_of
from gpt_agent_fsm.diagrams.style import ROOT, Rules, Theme, style_sheet
from gpt_agent_fsm.machine.states import State

__all__ = ["draw", "machine_styles", "open_svg", "svg"]

_RADIUS = 12
_PHONE = 340
"""The width of a picture on a phone, in pixels."""
_TIP, _WING = 11, 4.5
"""The length of an arrow's head, and half of the head's width."""
_COMMON = {
    "text.name": "font-size:16px;font-weight:bold",
    ".middle": "text-anchor:middle",
    ".end": "text-anchor:end",
    ".to": "fill:none;stroke-width:1.6",
    ".to.taken": "stroke-width:4",
    "text.taken": "font-weight:bold",
    ".state": "stroke-width:2",
    ".frame": "stroke-width:1.5;stroke-dasharray:6 5",
}


def svg(diagram: Diagram | None = None, *, styled: bool = True) -> str:
    """Return the diagram as an SVG picture. The default is the whole machine.

    With `styled=False`, the picture has no styles of its own. A page with such pictures needs `machine_styles()`.
    """
    diagram = diagram or diagram_of()
    return draw(place(diagram), diagram.title, diagram.lit, styled=styled)


@functools.cache
def machine_styles() -> str:
    """Return the style sheet of the pictures of the machine."""
    return style_sheet("machine", _COMMON, _themed)


def draw(plan: Plan, title: str, lit: State | None = None, *, styled: bool = True) -> str:
    """Return a plan as an SVG picture. `lit` is the state of the thread."""
    page = plan.page
    lines = [
        *open_svg("machine", page, title, machine_styles() if styled else None),
        _rectangle("page", page, 10),
        *_parts(plan, lit),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def open_svg(kind: str, page: Box, title: str, styles: str | None) -> list[str]:
    """Return the first lines of a picture. The picture has no ids, so that a page may contain several pictures.

    `styles` is the style sheet in the picture. With None, the page around the picture must have all styles.
    """
    size = f'width="{page.width:g}" height="{page.height:g}"'
    # If a page has less room, the picture shrinks. It scrolls before its texts become too small to read.
    narrowest = min(page.width, max(_PHONE, 0.6 * page.width))
    style = "" if styles is None else f'style="max-width:100%;min-width:{narrowest:g}px;height:auto" '
    view = f'viewBox="{page.left:g} {page.top:g} {page.width:g} {page.height:g}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{ROOT} {kind}" {size} {view} {style}role="img" '
        f'aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *([] if styles is None else [f"<style>\n{styles}\n</style>"]),
    ]


def _parts(plan: Plan, lit: State | None) -> Iterator[str]:
    """Yield the elements of the picture, from the back to the front."""
    if plan.frame:
        yield _rectangle("frame", plan.frame, 16)
    if plan.start:
        idle = plan.boxes[State.IDLE]
        yield from _arrow(f"to {State.IDLE}", State.IDLE, [plan.start, (idle.x, idle.top)])
        yield f'<circle class="start" cx="{plan.start[0]:g}" cy="{plan.start[1]:g}" r="7"/>'
    # The arrows that were taken are in front of the others.
    for link in sorted(plan.links, key=lambda link: link.is_taken):
        dest = link.route.dest.name
        yield from _arrow(f"to {dest}{' taken' * link.is_taken}", dest, link.route.points)
    for link in plan.links:
        yield from (_write(text, " taken" * link.is_taken) for text in link.texts)
    for state, box in plan.boxes.items():
        mark = " lit" * (state is lit)
        yield _rectangle(f"state {state}{mark}", box, 12)
        yield f'<text class="name{mark} middle" x="{box.x:g}" y="{box.y + 5:g}">{state}</text>'
    yield from map(_write, plan.notes)


def _write(text: Text, mark: str = "") -> str:
    place = f'x="{text.x:g}" y="{text.y:g}"'
    return f'<text class="{text.style}{mark} {text.anchor}" {place}>{escape(text.text)}</text>'


def _rectangle(style: str, box: Box, radius: float) -> str:
    place = f'x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect class="{style}" {place} rx="{radius:g}"/>'


def _arrow(style: str, dest: str, points: Sequence[Point]) -> Iterator[str]:
    """Yield the line of an arrow, with round corners, and its head."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _near(corner, before, _RADIUS), _near(corner, after, _RADIUS)
        path += f" L{x1:g} {y1:g} Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}"
    # The line ends within the head, so that a wide line does not hide the tip.
    end, neck = points[-1], _near(points[-1], points[-2], _TIP)
    yield f'<path class="{style}" d="{path} L{neck[0]:g} {neck[1]:g}"/>'
    across = ((end[1] - neck[1]) / _TIP * _WING, (neck[0] - end[0]) / _TIP * _WING)
    wings = [(neck[0] + side * across[0], neck[1] + side * across[1]) for side in (1, -1)]
    tip = " L".join(f"{x:g} {y:g}" for x, y in (end, *wings))
    yield f'<path class="head {dest}" d="M{tip} z"/>'


def _near(corner: Point, other: Point, distance: float) -> Point:
    """Return the point between a corner and `other` that has this distance from the corner."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    part = distance / max(abs(dx) + abs(dy), distance)
    return corner[0] + dx * part, corner[1] + dy * part


def _themed(theme: Theme) -> Rules:
    rules = {
        ".page": f"fill:{theme.page}",
        ".frame": f"fill:{theme.frame};stroke:{theme.soft}",
        ".input,.name,.start": f"fill:{theme.ink}",
        ".guard,.note": f"fill:{theme.soft}",
    }
    for state in State:
        fill, line = theme.fill(state), theme.line(state)
        rules |= {f".state.{state}": f"fill:{fill}", f".state.{state},.to.{state}": f"stroke:{line}"}
        rules |= {f".head.{state},.lit.{state}": f"fill:{line}"}
    return rules | {".name.lit": f"fill:{theme.page}"}
