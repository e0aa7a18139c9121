"""Turns the rows of the table into arrows between states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from gpt_agent_fsm.machine.states import LIVE, State
from gpt_agent_fsm.machine.table import TABLE, TRIGGERS

__all__ = ["FRAME", "FRAME_TITLE", "OTHERWISE", "Arrow", "Cause", "arrows", "rows"]

FRAME = "run_on_server"
"""The name of the frame around the states in which a run is on the server."""
FRAME_TITLE = "a run is on the server"
OTHERWISE = "otherwise"
"""The label of a row without a guard that comes after rows with a guard."""

Ways = dict[str, tuple[str, ...]]
"""The inputs that lead from one state to another, each with its guards. An input that leads to the other state without
a condition has no guards."""


@attrs.frozen
class Cause:
    """The inputs that move a thread if one of the `guards` holds.

    If there are no guards, the inputs always move the thread.
    """

    inputs: tuple[str, ...]
    guards: tuple[str, ...]

    def __str__(self) -> str:
        inputs = ", ".join(self.inputs)
        return f"{inputs} [{' / '.join(self.guards)}]" if self.guards else inputs


@attrs.frozen
class Arrow:
    """All rows that lead from one state, or from any state within the frame, to another state."""

    source: str
    dest: str
    causes: tuple[Cause, ...]


def rows(trigger: str, state: State) -> list[tuple[State, str | None]]:
    """Return the states that an input may lead to, each with the guard that must hold.

    The order is that of the table.
    """
    return [(row.dest or state, row.condition) for row in TABLE if row.trigger == trigger and state in row.states]


def arrows() -> list[Arrow]:
    """Return the arrows of the diagram in the order of the states. The arrows from the frame come last."""
    found: dict[tuple[str, str], Ways] = {}
    leads = {source: {trigger: rows(trigger, source) for trigger in TRIGGERS} for source in State}
    for dest in State:
        ways = {source: _ways(leads[source], dest) for source in State if source is not dest}
        if dest not in LIVE:
            found[FRAME, dest] = _take_shared([ways[source] for source in LIVE])
        found |= {(source, dest): way for source, way in ways.items()}
    order = [*State, FRAME]
    pairs = sorted((pair for pair, way in found.items() if way), key=lambda pair: order.index(pair[0]))
    return [Arrow(str(source), str(dest), _causes(found[source, dest])) for source, dest in pairs]


def _ways(leading: Mapping[str, Sequence[tuple[State, str | None]]], dest: State) -> Ways:
    """Return the ways to a state from the one whose rows, by their inputs, are given."""
    ways: Ways = {}
    for trigger, leads in leading.items():
        guards = tuple(guard or OTHERWISE for to, guard in leads if to is dest)
        always = bool(leads) and leads[-1][1] is None and all(to is dest for to, _ in leads)
        if guards:
            ways[trigger] = () if always else guards
    return ways


def _take_shared(ways: Sequence[Ways]) -> Ways:
    """Remove from each of the `ways` the part that all of them have in common. Return this part."""
    shared: Ways = {}
    for trigger in [name for name in ways[0] if all(name in others for others in ways)]:
        guards = [way[trigger] for way in ways]
        common = tuple(guard for guard in guards[0] if all(guard in others for others in guards))
        if common or not any(guards):
            shared[trigger] = common
            for way in ways:
                way[trigger] = tuple(guard for guard in way[trigger] if guard not in common)
                if not way[trigger]:
                    del way[trigger]
    return shared


def _causes(ways: Ways) -> tuple[Cause, ...]:
    by_guards: dict[tuple[str, ...], list[str]] = {}
    for trigger, guards in ways.items():
        by_guards.setdefault(guards, []).append(trigger)
    return tuple(Cause(tuple(inputs), guards) for guards, inputs in by_guards.items())
