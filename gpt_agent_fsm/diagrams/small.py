"""A small picture: the way from a message to an answer."""

from __future__ import annotations

import textwrap

from gpt_agent_fsm.diagrams.layout import LINE, Box, Lines, Link, Plan, Route, plan_of
from gpt_agent_fsm.diagrams.paths import Path
from gpt_agent_fsm.diagrams.paths import happy_path as way_to_an_answer
from gpt_agent_fsm.diagrams.picture import draw
from gpt_agent_fsm.diagrams.style import LETTER
from gpt_agent_fsm.machine.states import State

__all__ = ["happy_path"]

_LETTERS = 13
"""The maximum number of letters in a line of a label. It keeps the picture readable on a phone."""
_SIDE, _PORT, _GAP = 12, 36, 9


def happy_path() -> str:
    """Return an SVG picture of the way from a message to an answer, drawn from the table of the machine."""
    path = way_to_an_answer()
    ways = ", ".join(f"{step.source} to {step.dest} if {step.story}" for step in path.steps)
    return draw(_place(path), f"The way from a message to an answer: {ways}".replace("_", " "))


def _place(path: Path) -> Plan:
    """Place two states above two others, and route the arrows between them."""
    labels = [_label(step.story) for step in path.steps]
    most = max(len(label) for label in labels) * LINE
    across = max(len(text) for label in labels for _, text in label) * LETTER + 2 * _GAP
    left, top = Box("", 0, 0), 0.0
    right = left.width + across
    low = left.height + 2 * most + 2 * _GAP + _SIDE
    idle, running = Box(State.IDLE, 0, top), Box(State.RUNNING, right, top)
    submitting, awaiting = Box(State.SUBMITTING, 0, low), Box(State.AWAITING_TOOLS, right, low)
    middle, bend = right / 2, running.bottom + most + _GAP + _SIDE
    fall, rise = running.x + _PORT, running.x - _PORT
    there, back = running.y - _SIDE, running.y + _SIDE
    routes = [
        Route(idle, running, [(idle.right, there), (running.left, there)], (middle, there), "middle", 1),
        Route(
            running,
            awaiting,
            [(fall, running.bottom), (fall, awaiting.top)],
            (fall, (running.bottom + low - awaiting.height / 2) / 2),
            "start",
            0.5,
        ),
        Route(awaiting, submitting, [(awaiting.left, low), (submitting.right, low)], (middle, low), "middle", 0),
        Route(
            submitting,
            running,
            [(0, submitting.top), (0, bend), (rise, bend), (rise, running.bottom)],
            (middle, bend),
            "middle",
            0,
        ),
        Route(running, idle, [(running.left, back), (idle.right, back)], (middle, back), "middle", 0),
    ]
    boxes = {State.IDLE: idle, State.RUNNING: running, State.AWAITING_TOOLS: awaiting, State.SUBMITTING: submitting}
    return plan_of(boxes, [Link(route, label) for route, label in zip(routes, labels, strict=True)])


def _label(story: str) -> Lines:
    return [("input", line) for line in textwrap.wrap(story, _LETTERS)]
