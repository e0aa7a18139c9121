"""Turns the table of rules into a machine of the package `transitions`, which checks the table and applies its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from transitions import Event, EventData, Machine, Transition
from transitions import State as TransitionsState

from gpt_agent_fsm.machine import inputs, marks
from gpt_agent_fsm.machine.effects import Ignore
from gpt_agent_fsm.machine.rows import SAME, Row, Silence
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import IGNORED, TABLE
from gpt_agent_fsm.machine.working_copy import WorkingCopy

__all__ = ["build_machine"]


class _QuietState(TransitionsState):
    """A state without callbacks and without log lines when a thread enters or leaves the state."""

    def enter(self, event_data: EventData) -> None:
        """Do nothing when a thread enters the state."""

    def exit(self, event_data: EventData) -> None:
        """Do nothing when a thread leaves the state."""


class _QuietTransition(Transition):
    """A transition that does not log each step at debug level."""

    def execute(self, event_data: EventData) -> bool:
        """Take this transition if its conditions hold; return whether it was taken."""
        for condition in self.conditions:
            if not condition.check(event_data):
                return False
        event_data.machine.callbacks(self.before, event_data)
        if self.dest:
            self._change_state(event_data)
        return True


class _QuietEvent(Event):
    """An event that does not log each trigger at debug level."""

    def _trigger(self, event_data: EventData) -> bool:
        event_data.state = self.machine.get_model_state(event_data.model)
        # Raises an error if no row takes the input in this state.
        self._is_valid_source(event_data.state)
        return any(transition.execute(event_data) for transition in self.transitions[event_data.state.name])


class _QuietMachine(Machine):
    """A `Machine` that does not log each step, each callback and each change of state."""

    state_cls = _QuietState
    transition_cls = _QuietTransition
    event_cls = _QuietEvent

    def callbacks(self, funcs: Iterable[Any], event_data: EventData) -> None:
        """Call each function."""
        for func in funcs:
            func(*event_data.args)


def build_machine(table: Sequence[Row] = TABLE) -> Machine:
    """Return the machine that all threads share. It stores no state: `advance` passes it a model for each input."""
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
    return _QuietMachine(model=None, states=State, transitions=rows, initial=None, auto_transitions=False)


def _taking(row: Row) -> Any:  # noqa: ANN401 - a callback of transitions
    action, story = row.action, row.story

    def take(copy: WorkingCopy, input_: inputs.Input) -> None:
        marks.hit(story)
        copy.followed_by = action(copy, input_)

    return take


def _ignoring(row: Silence) -> Any:  # noqa: ANN401 - a callback of transitions
    def ignore(copy: WorkingCopy, _: inputs.Input) -> None:
        copy.effects.append(Ignore(reason=row.reason))

    return ignore
