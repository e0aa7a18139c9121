"""Draws the machine as an SVG picture. The layout is computed here, without another program."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import attrs

from gpt_agent_fsm.diagrams.arrows import COLOURS, FRAME, FRAME_TITLE, Cause, arrows
from gpt_agent_fsm.machine.states import State

__all__ = ["svg"]

_WIDTH, _HEIGHT, _MARGIN, _PAD, _GAP = 146, 48, 28, 22, 9
_FONT, _LINE = 14, 18
# The assumed width of a letter. It is wider than an average letter, because the font of the page is unknown.
_LETTER = 7.3
_RADIUS = 12
# Distances from the middle of a side to the end of an arrow: on the top and bottom, and for two parallel arrows.
_PORT, _SIDE = 42, 12
_CAPTION = (
    "The label of an arrow is: input [guard]. An arrow from the frame starts in any state within it. "
    "Inputs that keep the state are omitted."
)

Point = tuple[float, float]
Lines = list[tuple[str, str]]
"""The lines of a label, each with its style."""


@attrs.frozen
class _Box:
    """A rectangle with a name, defined by its middle and its size."""

    name: str
    x: float
    y: float
    width: float = _WIDTH
    height: float = _HEIGHT

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


@attrs.frozen
class _Route:
    """The path of an arrow, and the place of its label.

    Attributes:
        at: the point of the arrow beside the label.
        anchor: whether the label starts, is centred, or ends at that point.
        rise: 0 if the label is below the point, 0.5 if the label is centred vertically, 1 if the label is above the
            point.
    """

    source: _Box
    dest: _Box
    points: Sequence[Point]
    at: Point
    anchor: str
    rise: float


class _Drawing:
    """Places the states, and routes the arrows around them.

    The routes of the arrows are fixed. The distances between the states depend on the labels, which come from the
    table.
    """

    def __init__(self) -> None:
        self.labels = {(arrow.source, arrow.dest): _label(arrow.causes) for arrow in arrows()}
        x, y = self._columns(), self._rows()
        self.boxes = {state: _Box(state, x[state], y[state]) for state in State}
        self.frame = _Box(
            FRAME,
            (x["left"] + x["right"]) / 2,
            (y["top"] + y["bottom"]) / 2,
            x["right"] - x["left"],
            y["bottom"] - y["top"],
        )
        self.width = self.boxes[State.RATE_LIMITED].right + _MARGIN
        self.height = self.frame.bottom + _PAD + 2 * _MARGIN

    def _across(self, *pairs: tuple[str, str]) -> float:
        """Return the width that the labels of these arrows need beside an arrow. The widest label decides."""
        texts = [text for pair in pairs for _, text in self.labels.get(pair, [])]
        return max(map(len, texts), default=0) * _LETTER + 2 * _GAP

    def _down(self, *pairs: tuple[str, str]) -> float:
        """Return the height that the labels of these arrows need. The highest label decides."""
        return max(len(self.labels.get(pair, [])) for pair in pairs) * _LINE + _GAP

    def _columns(self) -> dict[str, float]:
        idle, running, awaiting, submitting, limited, failed = State
        across = self._across
        inset = 2 * _PAD + max(across((running, awaiting)) + _SIDE, _WIDTH / 2)
        x: dict[str, float] = {idle: _MARGIN + _WIDTH / 2}
        x[running] = x[awaiting] = x[failed] = x[idle] + max(
            _PORT + across((idle, running)) + inset,
            across((FRAME, idle)) + inset - _PORT,
            _WIDTH + across((idle, failed), (failed, idle)),
            2 * _PORT + across((failed, running)),
        )
        x["left"] = x[running] - inset
        x[submitting] = x[running] + max(
            _WIDTH + across((awaiting, submitting), (submitting, awaiting)),
            _SIDE + across((awaiting, running)) + across((submitting, running)) + _PORT,
            _WIDTH / 2 + across((running, submitting)),
            across((FRAME, failed)),
        )
        x["right"] = x[submitting] + _WIDTH / 2 + _PAD
        x[limited] = _PORT + max(
            x["right"] + across((FRAME, limited)),
            x[submitting] + _PORT + across((submitting, failed)),
            x[failed] + _WIDTH + across((limited, failed)),
        )
        return x

    def _rows(self) -> dict[str, float]:
        idle, running, awaiting, submitting, limited, failed = State
        down = self._down
        y: dict[str, float] = {}
        y[idle] = y[limited] = y[failed] = _MARGIN + down((idle, failed), (limited, failed)) + _SIDE
        y["top"] = y[failed] + max(
            _SIDE + down((failed, idle)) + down((failed, running)) + _GAP,
            _HEIGHT / 2 + down((FRAME, failed), (submitting, failed)) + _GAP,
        )
        y[running] = y["top"] + _PAD + _LINE + down((running, submitting)) + _SIDE
        y[awaiting] = y[submitting] = y[running] + max(
            _HEIGHT + down((running, awaiting)) + _GAP,
            _HEIGHT / 2 + down((awaiting, running)) + down((awaiting, submitting)) + _SIDE + _GAP,
            _SIDE + down((submitting, running)) + down((awaiting, submitting)) + _SIDE + _GAP,
        )
        y["bottom"] = y[awaiting] + max(_HEIGHT / 2, _SIDE + down((submitting, awaiting))) + _PAD
        return y

    def _upper(self) -> list[_Route]:
        """Return the routes to and from `failed`."""
        idle, running, _, submitting, limited, failed = self.boxes.values()
        above, below, port, other_port = failed.y - _SIDE, failed.y + _SIDE, failed.x - _PORT, failed.x + _PORT
        left, right = (idle.right + failed.left) / 2, (limited.left + failed.right) / 2
        riser, halfway = submitting.x + _PORT, (failed.bottom + self.frame.top) / 2
        into_left, into_right = (
            [(idle.right, above), (failed.left, above)],
            [(limited.left, above), (failed.right, above)],
        )
        from_submitting = [(riser, submitting.top), (riser, below), (failed.right, below)]
        return [
            _Route(idle, failed, into_left, (left, above), "middle", 1),
            _Route(limited, failed, into_right, (right, above), "middle", 1),
            _Route(failed, idle, [(failed.left, below), (idle.right, below)], (left, below), "middle", 0),
            _Route(failed, running, [(port, failed.bottom), (port, running.top)], (port, self.frame.top), "end", 1),
            _Route(
                self.frame,
                failed,
                [(other_port, self.frame.top), (other_port, failed.bottom)],
                (other_port, halfway),
                "start",
                0.5,
            ),
            _Route(submitting, failed, from_submitting, (riser, halfway), "start", 0.5),
        ]

    def _outer(self) -> list[_Route]:
        """Return the other routes into and out of the frame."""
        idle, running, awaiting, _, limited, _ = self.boxes.values()
        frame, above, below = self.frame, running.y - _SIDE, running.y + _SIDE
        down, up = idle.x + _PORT, idle.x - _PORT
        rise, fall = limited.x - _PORT, limited.x + _PORT
        lane, floor = frame.left + _PAD, frame.bottom + _PAD
        start = [(down, idle.bottom), (down, above), (running.left, above)]
        finish = [(frame.left, awaiting.y), (up, awaiting.y), (up, idle.bottom)]
        limit = [(frame.right, running.y), (rise, running.y), (rise, limited.bottom)]
        again = [(fall, limited.bottom), (fall, floor), (lane, floor), (lane, below), (running.left, below)]
        return [
            _Route(idle, running, start, ((down + frame.left) / 2, above), "middle", 0),
            _Route(frame, idle, finish, ((up + frame.left) / 2, awaiting.y), "middle", 0),
            _Route(frame, limited, limit, ((rise + frame.right) / 2, running.y), "middle", 0),
            _Route(limited, running, again, (fall, awaiting.y), "end", 0.5),
        ]

    def _inner(self) -> list[_Route]:
        """Return the routes between states within the frame."""
        _, running, awaiting, submitting, _, _ = self.boxes.values()
        down, up = running.x - _SIDE, running.x + _SIDE
        there, back = running.y - _SIDE, running.y + _SIDE
        above, below = awaiting.y - _SIDE, awaiting.y + _SIDE
        fall, rise = submitting.x, submitting.x - _PORT
        middle = (awaiting.right + submitting.left) / 2
        to_submitting = [(running.right, there), (fall, there), (fall, submitting.top)]
        from_submitting = [(rise, submitting.top), (rise, back), (running.right, back)]
        going, coming = (
            [(awaiting.right, above), (submitting.left, above)],
            [(submitting.left, below), (awaiting.right, below)],
        )
        halfway = (running.bottom + awaiting.top) / 2
        return [
            _Route(running, awaiting, [(down, running.bottom), (down, awaiting.top)], (down, halfway), "end", 0.5),
            _Route(awaiting, running, [(up, awaiting.top), (up, running.bottom)], (up, running.bottom), "start", 0),
            _Route(running, submitting, to_submitting, ((running.right + fall) / 2, there), "middle", 1),
            _Route(submitting, running, from_submitting, (rise, back), "end", 0),
            _Route(awaiting, submitting, going, (middle, above), "middle", 1),
            _Route(submitting, awaiting, coming, (middle, below), "middle", 0),
        ]

    def parts(self) -> list[str]:
        """Return the elements of the picture, from the back to the front."""
        routes = {(r.source.name, r.dest.name): r for r in (*self._upper(), *self._outer(), *self._inner())}
        for source, dest in self.labels.keys() - routes.keys():
            raise LookupError(f"{__name__} has no route for an arrow from {source} to {dest}: add one")
        idle, frame = self.boxes[State.IDLE], self.frame
        title_x = (self.boxes[State.RUNNING].x + self.boxes[State.SUBMITTING].x) / 2
        initial = idle.top - _HEIGHT
        parts = [
            _rectangle("page", _Box("", self.width / 2, self.height / 2, self.width, self.height), 10),
            _rectangle("frame", frame, 16),
            f'<text class="note middle" x="{title_x:g}" y="{frame.top + _PAD:g}">{FRAME_TITLE}</text>',
            _line(State.IDLE, [(idle.x, initial), (idle.x, idle.top)]),
            f'<circle class="start" cx="{idle.x:g}" cy="{initial:g}" r="7"/>',
        ]
        parts += [_line(pair[1], routes[pair].points) for pair in self.labels]
        parts += [text for pair, label in self.labels.items() for text in _writing(label, routes[pair])]
        for state, box in self.boxes.items():
            parts.append(_rectangle(f"state {state}", box, 12))
            parts.append(f'<text class="name middle" x="{box.x:g}" y="{box.y + 5:g}">{state}</text>')
        parts.append(f'<text class="note" x="{_MARGIN}" y="{self.height - _MARGIN:g}">{_CAPTION}</text>')
        return parts


def _label(causes: Sequence[Cause]) -> Lines:
    """Return a label as short lines. The inputs come first, then their guards."""
    lines: Lines = []
    for cause in causes:
        *others, last = (name.replace("_", " ") for name in cause.inputs)
        lines += [*(("input", f"{name},") for name in others), ("input", last)]
        lines += [("guard", f"[{guard.replace('_', ' ')}]") for guard in cause.guards]
    return lines


def _rectangle(style: str, box: _Box, radius: float) -> str:
    place = f'x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.height:g}"'
    return f'<rect class="{style}" {place} rx="{radius:g}"/>'


def _line(dest: str, points: Sequence[Point]) -> str:
    """Return an arrow with round corners."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _near(corner, before), _near(corner, after)
        path += f" L{x1:g} {y1:g} Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}"
    path += f" L{points[-1][0]:g} {points[-1][1]:g}"
    return f'<path class="to {dest}" d="{path}" marker-end="url(#head-{dest})"/>'


def _near(corner: Point, other: Point) -> Point:
    """Return the point between a corner and `other` where the rounding of the corner ends."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    part = _RADIUS / max(abs(dx) + abs(dy), _RADIUS)
    return corner[0] + dx * part, corner[1] + dy * part


def _writing(label: Lines, route: _Route) -> list[str]:
    x = route.at[0] + {"start": _GAP, "middle": 0, "end": -_GAP}[route.anchor]
    y = route.at[1] + (0.5 - route.rise) * _GAP - route.rise * len(label) * _LINE + _FONT
    return [
        f'<text class="{style} {route.anchor}" x="{x:g}" y="{y + number * _LINE:g}">{escape(text)}</text>'
        for number, (style, text) in enumerate(label)
    ]


def _style() -> str:
    """Return the style sheet. It has light colours, and dark colours for users who prefer these."""
    rules = [
        f"text{{font:{_FONT}px Helvetica,Arial,'Liberation Sans',sans-serif}}",
        "text.name{font-size:16px;font-weight:bold}.middle{text-anchor:middle}.end{text-anchor:end}",
        ".to{fill:none;stroke-width:1.6}.state{stroke-width:2}.frame{stroke-width:1.5;stroke-dasharray:6 5}",
    ]
    light = ("#ffffff", "#f8fafc", "#1b2430", "#55606e")
    dark = ("#14181f", "#1a2029", "#e6eaf0", "#a9b4c2")
    for opening, closing, first, (page, frame, ink, soft) in (
        ([], [], 0, light),
        (["@media (prefers-color-scheme:dark){"], ["}"], 2, dark),
    ):
        rules += opening
        rules.append(f".page{{fill:{page}}}.frame{{fill:{frame};stroke:{soft}}}")
        rules.append(f".input,.name,.start{{fill:{ink}}}.guard,.note{{fill:{soft}}}")
        for state in State:
            fill, line = COLOURS[state][first : first + 2]
            rules.append(f".state.{state}{{fill:{fill}}}.state.{state},.to.{state}{{stroke:{line}}}")
            rules.append(f".head.{state}{{fill:{line}}}")
        rules += closing
    return "\n".join(rules)


def svg() -> str:
    """Return the machine as an SVG picture that needs no other files, fonts, scripts or network."""
    drawing = _Drawing()
    heads = [
        f'<marker id="head-{state}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path class="head {state}" d="M0 0.8 L10 5 L0 9.2 z"/></marker>'
        for state in State
    ]
    size = f'width="{drawing.width:g}" height="{drawing.height:g}" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        '<title id="title">The states of a thread and the transitions between them</title>',
        f"<style>\n{_style()}\n</style>",
        "<defs>",
        *heads,
        "</defs>",
        *drawing.parts(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
