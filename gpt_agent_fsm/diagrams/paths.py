"""The simple paths of a thread: from a message to an answer, from a message to a failure, and back from a failure.

A path is simple if it visits no state twice, except that it may end where it began. Each step of a path is a row of the
table. So the story of a path consists of the stories of its rows, one after the other. If several rows lead from one
state to another, paths use the ordinary one; see `ORDINARY`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from gpt_agent_fsm.machine.rows import Row
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import TABLE

__all__ = ["ORDINARY", "Path", "Step", "happy_path", "simple_paths"]

ORDINARY = (
    "a run was created",
    "the run asks for tools",
    "the last output comes",
    "the run asks for tools whose outputs are known",
    "the run continues",
    "the run is completed",
    "the run is rate limited",
    "the run has failed",
    "a message or run is denied",
    "a queued message is sent",
    "somebody else's run is active",
)
"""The stories of the rows that paths use. If two of these rows connect the same two states, the first is taken."""

_HAPPY = (
    "a run was created",
    "the run asks for tools",
    "the last output comes",
    "the run continues",
    "the run is completed",
)


@attrs.frozen
class Step:
    """A change of state, and the row of the table that causes it."""

    source: State
    dest: State
    row: Row

    @property
    def story(self) -> str:
        """The situation in a few words."""
        return self.row.story


@attrs.frozen
class Path:
    """A way of a thread from one state to another."""

    steps: tuple[Step, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """The states on the way, with both ends."""
        return (self.steps[0].source, *(step.dest for step in self.steps))

    @property
    def story(self) -> str:
        """The name of the path: the stories of its steps."""
        return ", ".join(step.story for step in self.steps)


def happy_path() -> Path:
    """Return the way from a message to an answer, with tool calls. It visits `running` twice."""
    rows, steps, state = {row.story: row for row in TABLE}, [], State.IDLE
    for story in _HAPPY:
        steps.append(_step(rows[story], state))
        state = steps[-1].dest
    return Path(tuple(steps))


def simple_paths() -> dict[str, list[Path]]:
    """Return the simple paths in groups, by the name of the group.

    A simple path does not pass through `running` twice. So the ways from `running` back to it are a separate group.
    """
    idle, running, failed = State.IDLE, State.RUNNING, State.FAILED
    return {
        "From a message to an answer": list(_paths(idle, idle, without=[failed])),
        "From a message to a failure": list(_paths(idle, failed)),
        "Back from a failure": list(_paths(failed, idle)),
        "Round again during a run": list(_paths(running, running, without=[idle, failed])),
    }


def _step(row: Row, state: State) -> Step:
    if state not in row.states or row.dest in (None, state):
        raise LookupError(f"{row.story!r} does not lead out of {state}: say in {__name__} which row does")
    return Step(state, row.dest or state, row)


def _steps() -> list[Step]:
    """Return one step for each pair of states that a row connects."""
    order = {story: number for number, story in enumerate(ORDINARY)}
    rows = sorted(TABLE, key=lambda row: order.get(row.story, len(order)))
    moves = [Step(state, row.dest, row) for row in rows for state in row.states if row.dest not in (None, state)]
    first: dict[tuple[State, State], Step] = {}
    for step in moves:
        first.setdefault((step.source, step.dest), step)
    return sorted(first.values(), key=lambda step: (list(State).index(step.source), list(State).index(step.dest)))


def _paths(start: State, end: State, without: Sequence[State] = ()) -> Iterator[Path]:
    """Return the simple paths between two states, in the order of the states. They avoid the states `without`."""
    steps = _steps()

    def extend(taken: tuple[Step, ...], here: State, visited: frozenset[State]) -> Iterator[Path]:
        for step in steps:
            if step.source is here and step.dest is end:
                yield Path((*taken, step))
            elif step.source is here and step.dest not in visited:
                yield from extend((*taken, step), step.dest, visited | {step.dest})

    return extend((), start, frozenset({start, end, *without}))
