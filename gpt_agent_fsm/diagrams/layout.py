"""Places the states, the arrows and the labels of a diagram, without the help of another program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from gpt_agent_fsm.diagrams.arrows import FRAME, FRAME_TITLE, Cause
from gpt_agent_fsm.diagrams.model import Diagram
from gpt_agent_fsm.diagrams.style import FONT, LETTER
from gpt_agent_fsm.machine.states import State

__all__ = ["LINE", "Box", "Lines", "Link", "Plan", "Point", "Route", "Text", "place", "plan_of"]

_WIDTH, _HEIGHT, _MARGIN, _PAD, _GAP = 146, 48, 28, 22, 9
LINE = 18
"""The distance between two lines of a label."""
# Distances from the middle of a side to the end of an arrow: on the top and bottom, and for two parallel arrows.
_PORT, _SIDE = 42, 12
_CAPTION = (
    "The label of an arrow is: input [guard]. An arrow from the frame starts in any state within it. "
    "Inputs that keep the state are omitted."
)

Point = tuple[float, float]
Lines = Sequence[tuple[str, str]]
"""The lines of a label, each with its style."""


@attrs.frozen
class Box:
    """A rectangle with a name, defined by its middle and its size."""

    name: str
    x: float
    y: float
    width: float = _WIDTH
    height: float = _HEIGHT

    @property
    def left(self) -> float:
        """The left side."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """The right side."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """The upper side."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """The lower side."""
        return self.y + self.height / 2


@attrs.frozen
class Route:
    """The path of an arrow, and the place of its label.

    Attributes:
        at: the point of the arrow beside the label.
        anchor: whether the label starts, is centred, or ends at that point.
        rise: 0 if the label is below the point, 0.5 if the label is centred vertically, 1 if the label is above the
            point.
    """

    source: Box
    dest: Box
    points: Sequence[Point]
    at: Point
    anchor: str
    rise: float


@attrs.frozen
class Text:
    """A line of text. `anchor` says whether the text starts, is centred, or ends at the point `x`, `y`."""

    style: str
    anchor: str
    x: float
    y: float
    text: str

    @property
    def box(self) -> Box:
        """The room that the text takes."""
        width = len(self.text) * LETTER
        shift = {"start": width / 2, "middle": 0, "end": -width / 2}[self.anchor]
        return Box("", self.x + shift, self.y - FONT / 3, width, LINE)


@attrs.frozen
class Link:
    """An arrow of the diagram with its route and its label."""

    route: Route
    label: Lines
    is_taken: bool = False

    @property
    def texts(self) -> list[Text]:
        """The lines of the label, each at its place."""
        route, label = self.route, self.label
        x = route.at[0] + {"start": _GAP, "middle": 0, "end": -_GAP}[route.anchor]
        y = route.at[1] + (0.5 - route.rise) * _GAP - route.rise * len(label) * LINE + FONT
        return [Text(style, route.anchor, x, y + number * LINE, text) for number, (style, text) in enumerate(label)]


@attrs.frozen
class Plan:
    """A diagram with the place of everything in it.

    Attributes:
        notes: the title of the frame, and the caption.
        page: the whole picture.
    """

    boxes: Mapping[State, Box]
    frame: Box | None
    links: Sequence[Link]
    notes: Sequence[Text]
    page: Box

    @property
    def start(self) -> Point | None:
        """The point of the mark above the initial state; None if that state is not drawn."""
        return start_above(self.boxes)


def start_above(boxes: Mapping[State, Box]) -> Point | None:
    """Return the point of the mark above the initial state; None if that state is not drawn."""
    idle = boxes.get(State.IDLE)
    return None if idle is None else (idle.x, idle.top - _HEIGHT)


def plan_of(
    boxes: Mapping[State, Box], links: Sequence[Link], frame: Box | None = None, notes: Sequence[Text] = ()
) -> Plan:
    """Return a plan whose page is as large as needed."""
    rooms = [*boxes.values(), *filter(None, [frame]), *(text.box for text in notes)]
    rooms += [text.box for link in links for text in link.texts]
    rooms += [Box("", x, y, 0, 0) for link in links for x, y in link.route.points]
    start = start_above(boxes)
    rooms += [Box("", *start, FONT, FONT)] if start else []
    left, right = min(room.left for room in rooms) - _MARGIN, max(room.right for room in rooms) + _MARGIN
    top, bottom = min(room.top for room in rooms) - _MARGIN, max(room.bottom for room in rooms) + _MARGIN
    return Plan(
        boxes,
        links=links,
        frame=frame,
        notes=notes,
        page=Box("", (left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
    )


def place(diagram: Diagram) -> Plan:
    """Return the places of all parts of a diagram."""
    layout = _Layout(diagram)
    routes = {(r.source.name, r.dest.name): r for r in (*layout.upper(), *layout.outer(), *layout.inner())}
    for source, dest in layout.labels.keys() - routes.keys():
        raise LookupError(f"{__name__} has no route for an arrow from {source} to {dest}: add one")
    links = [
        Link(routes[arrow.source, arrow.dest], layout.labels[arrow.source, arrow.dest], arrow in diagram.taken)
        for arrow in diagram.arrows
    ]
    boxes = {state: layout.boxes[state] for state in diagram.states}
    if not diagram.is_framed:
        return plan_of(boxes, links)
    frame = layout.frame
    title_x = (boxes[State.RUNNING].x + boxes[State.SUBMITTING].x) / 2
    notes = [Text("note", "middle", title_x, frame.top + _PAD, FRAME_TITLE)]
    if set(boxes) == set(State):
        notes.append(Text("note", "start", boxes[State.IDLE].left, frame.bottom + _PAD + _MARGIN, _CAPTION))
    return plan_of(boxes, links, frame, notes)


class _Layout:
    """Places the states, and routes the arrows around them.

    The routes of the arrows are fixed. The distances depend on the labels, and the labels depend on the table.
    """

    def __init__(self, diagram: Diagram) -> None:
        self.labels = {(arrow.source, arrow.dest): _label(arrow.causes) for arrow in diagram.arrows}
        x, y = self._columns(), self._rows()
        self.boxes = {state: Box(state, x[state], y[state]) for state in State}
        self.frame = Box(
            FRAME,
            (x["left"] + x["right"]) / 2,
            (y["top"] + y["bottom"]) / 2,
            x["right"] - x["left"],
            y["bottom"] - y["top"],
        )

    def _across(self, *pairs: tuple[str, str]) -> float:
        """Return the width that the widest label of these arrows needs beside an arrow."""
        texts = [text for pair in pairs for _, text in self.labels.get(pair, [])]
        return max(map(len, texts), default=0) * LETTER + 2 * _GAP

    def _down(self, *pairs: tuple[str, str]) -> float:
        """Return the height that the highest label of these arrows needs."""
        return max(len(self.labels.get(pair, [])) for pair in pairs) * LINE + _GAP

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
        y[running] = y["top"] + _PAD + LINE + down((running, submitting)) + _SIDE
        y[awaiting] = y[submitting] = y[running] + max(
            _HEIGHT + down((running, awaiting)) + _GAP,
            _HEIGHT / 2 + down((awaiting, running)) + down((awaiting, submitting)) + _SIDE + _GAP,
            _SIDE + down((submitting, running)) + down((awaiting, submitting)) + _SIDE + _GAP,
        )
        y["bottom"] = y[awaiting] + max(_HEIGHT / 2, _SIDE + down((submitting, awaiting))) + _PAD
        return y

    def upper(self) -> list[Route]:
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
            Route(idle, failed, into_left, (left, above), "middle", 1),
            Route(limited, failed, into_right, (right, above), "middle", 1),
            Route(failed, idle, [(failed.left, below), (idle.right, below)], (left, below), "middle", 0),
            Route(failed, running, [(port, failed.bottom), (port, running.top)], (port, self.frame.top), "end", 1),
            Route(
                self.frame,
                failed,
                [(other_port, self.frame.top), (other_port, failed.bottom)],
                (other_port, halfway),
                "start",
                0.5,
            ),
            Route(submitting, failed, from_submitting, (riser, halfway), "start", 0.5),
        ]

    def outer(self) -> list[Route]:
        """Return the routes into and out of the frame, except those to and from `failed`."""
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
            Route(idle, running, start, ((down + frame.left) / 2, above), "middle", 0),
            Route(frame, idle, finish, ((up + frame.left) / 2, awaiting.y), "middle", 0),
            Route(frame, limited, limit, ((rise + frame.right) / 2, running.y), "middle", 0),
            Route(limited, running, again, (fall, awaiting.y), "end", 0.5),
        ]

    def inner(self) -> list[Route]:
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
            Route(running, awaiting, [(down, running.bottom), (down, awaiting.top)], (down, halfway), "end", 0.5),
            Route(awaiting, running, [(up, awaiting.top), (up, running.bottom)], (up, running.bottom), "start", 0),
            Route(running, submitting, to_submitting, ((running.right + fall) / 2, there), "middle", 1),
            Route(submitting, running, from_submitting, (rise, back), "end", 0),
            Route(awaiting, submitting, going, (middle, above), "middle", 1),
            Route(submitting, awaiting, coming, (middle, below), "middle", 0),
        ]


def _label(causes: Sequence[Cause]) -> Lines:
    """Return a label as short lines. The inputs come first, then their guards."""
    lines: list[tuple[str, str]] = []
    for cause in causes:
        *others, last = (name.replace("_", " ") for name in cause.inputs)
        lines += [*(("input", f"{name},") for name in others), ("input", last)]
        lines += [("guard", f"[{guard.replace('_', ' ')}]") for guard in cause.guards]
    return lines
