"""The rows of the machine's table, and the functions that make them.

`on` makes a row from the class of an input, a guard (the condition) and an action. The guard and the action are
functions, not names. So the type checker can check that they fit the input of the row, and an editor can find them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import attrs

from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.working_copy import WorkingCopy

__all__ = ["OTHERWISE", "SAME", "Action", "Guard", "Row", "Silence", "on", "silent", "states_of"]

I = TypeVar("I", bound=inputs.Input)  # noqa: E741 - stands for the input of a row
Guard = Callable[[WorkingCopy, I], bool]
Action = Callable[[WorkingCopy, I], inputs.Input | None]
Where = State | Sequence[State]

SAME: Final = None
OTHERWISE: Final = None


@attrs.frozen
class Row:
    """A row of the table.

    If a thread in one of these states gets the input, and the guard returns True, the machine does the action, and the
    thread moves to the state `dest`.

    Attributes:
        dest: the next state; None to stay in the same state.
        guard: the condition. A row with the guard None is taken if no row above it was taken.
        story: the situation in which the row is taken, in a few words; unique, so that it names the row.
    """

    kind: type[Any]
    states: tuple[State, ...]
    dest: State | None
    guard: Guard[Any] | None
    action: Action[Any]
    story: str

    @property
    def trigger(self) -> str:
        """The input's name."""
        return str(self.kind.trigger)

    @property
    def condition(self) -> str | None:
        """The guard's name; None without a guard."""
        return None if self.guard is None else self.guard.__name__

    @property
    def verb(self) -> str:
        """The action's name."""
        return self.action.__name__


@attrs.frozen
class Silence:
    """An input that changes nothing in these states, and the reason.

    The input is ignored, or only a defect of the library can cause it.
    """

    kind: type[inputs.Input]
    states: tuple[State, ...]
    reason: str

    @property
    def trigger(self) -> str:
        """The input's name."""
        return self.kind.trigger


def states_of(where: Where) -> tuple[State, ...]:
    """Return the states that a row names. It may name one state or several."""
    return (where,) if isinstance(where, State) else tuple(where)


def on(kind: type[I], where: Where, dest: State | None, guard: Guard[I] | None, action: Action[I], story: str) -> Row:
    """Make a row of the table."""
    return Row(kind, states_of(where), dest, guard, action, story)


def silent(kind: type[inputs.Input], where: Where, because: str) -> Silence:
    """Make a row for an input that changes nothing."""
    return Silence(kind, states_of(where), because)
