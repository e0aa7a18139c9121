"""Builds a machine of the package `transitions` from the table, and compiles it to rules that are found fast.

`transitions` checks the states and inputs of the table. But at run time, `transitions` would need more time to find a
row than to carry it out. So `rules_of` reads the finished machine once. A test shows for each input, state and
result of the guards that `transitions` takes the same row as the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transitions import Machine

from gpt_agent_fsm.machine import inputs, marks
from gpt_agent_fsm.machine.effects import Ignore
from gpt_agent_fsm.machine.rows import SAME, Row, Silence
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import IGNORED, TABLE
from gpt_agent_fsm.machine.working_copy import WorkingCopy

__all__ = ["Rule", "Rules", "build_machine", "rules_of"]


class Rule(NamedTuple):
    """A row of the table, for one of its states.

    Attributes:
        guard: the condition; None if the rule is always taken.
        take: the function that does the action.
        dest: the next state; None to stay in the same state.
    """

    guard: Callable[[WorkingCopy, inputs.Input], bool] | None
    take: Callable[[WorkingCopy, inputs.Input], object]
    dest: State | None


Rules = Mapping[State, Mapping[str, Sequence[Rule]]]
"""The rules by the thread's state and the input's name, in the order in which they are tried."""


def build_machine(table: Sequence[Row] = TABLE) -> Machine:
    """Return the machine that all threads share. It stores no state: its model is the working copy for an input."""
    rows = [
        {
            "trigger": row.trigger,
            "source": list(row.states),
            "dest": row.dest,
            "conditions": row.guard,
            "before": _taking(row),
        }
        for row in table
    ]
    rows += [
        {"trigger": row.trigger, "source": list(row.states), "dest": SAME, "before": _ignoring(row)} for row in IGNORED
    ]
    return Machine(model=None, states=State, transitions=rows, initial=None, auto_transitions=False)


def rules_of(machine: Machine) -> Rules:
    """Return the rules of a machine that `build_machine` has made."""
    rules: dict[State, dict[str, Sequence[Rule]]] = {state: {} for state in State}
    for trigger, event in machine.events.items():
        for source, rows in event.transitions.items():
            rules[State[source]][trigger] = tuple(_rule_of(row) for row in rows)
    return rules


def _rule_of(row: Any) -> Rule:  # noqa: ANN401 - a transition of transitions
    guards = [condition.func for condition in row.conditions]
    (take,) = row.before
    return Rule(guards[0] if guards else None, take, None if row.dest is None else State[row.dest])


def _taking(row: Row) -> Callable[[WorkingCopy, inputs.Input], None]:
    action, story = row.action, row.story

    def take(copy: WorkingCopy, input_: inputs.Input) -> None:
        marks.hit(story)
        copy.followed_by = action(copy, input_)

    return take


def _ignoring(row: Silence) -> Callable[[WorkingCopy, inputs.Input], None]:
    def ignore(copy: WorkingCopy, _: inputs.Input) -> None:
        copy.effects.append(Ignore(reason=row.reason))

    return ignore
