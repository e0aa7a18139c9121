"""The pure core: `advance(snapshot, input)` gives the next snapshot, the effects and the events.

It knows no clock, thread, random number, log or HTTP; what needs one of these is an effect. The rules stand in
`gpt_agent_fsm.machine.table`; this module answers their questions (the guards) and carries out their verbs (the
actions) on a working copy of the snapshot, so that an input that raises changes nothing.
"""

from __future__ import annotations

import attrs
from transitions import MachineError

from gpt_agent_fsm.errors import IllegalInput
from gpt_agent_fsm.events import Event, StateChanged
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions import MessageActions, RunActions, ToolActions
from gpt_agent_fsm.machine.snapshot import Snapshot, SnapshotFields, State
from gpt_agent_fsm.machine.table import build_machine
from gpt_agent_fsm.settings import Settings

__all__ = ["Life", "advance"]

_DEFAULTS = Settings()
_FIELDS = tuple(field.name for field in attrs.fields(SnapshotFields))
_MACHINE = build_machine()


class Life(MessageActions, RunActions, ToolActions):
    """One advance in the making: the model that the shared machine drives."""

    __slots__ = ()


def advance(
    snapshot: Snapshot, input_: inputs.Input, settings: Settings = _DEFAULTS
) -> tuple[Snapshot, tuple[effects.Effect, ...], tuple[Event, ...]]:
    """Return the snapshot after `input_`, the effects wanted, and the events to announce, each in order.

    At most one effect is a request; a request or a `Wait` among the effects replaces the timer that was set before.
    Raises `IllegalInput` where the machine has no row for the input; the snapshot given is never changed.
    """
    life = Life(
        settings=settings,
        input=input_,
        **{name: getattr(snapshot, name) for name in _FIELDS},
    )
    _trigger(life, input_)
    while life.followed_by is not None:
        following, life.followed_by = life.followed_by, None
        _trigger(life, following)
    if life.request is None and not life.state.run_in_progress and not life.stopping:
        _trigger(life, inputs.TakeUp())
    return Snapshot(**{name: getattr(life, name) for name in _FIELDS}), tuple(life.effects), tuple(life.events)


def _trigger(life: Life, input_: inputs.Input) -> None:
    source, life.input = life.state, input_
    try:
        taken = _MACHINE.events[input_.trigger].trigger(life)
    except MachineError as error:
        raise IllegalInput(f"{input_.trigger} can not happen in state {source}") from error
    if not taken:
        raise IllegalInput(f"no row of the table takes {input_.trigger} in state {source}")
    if life.state is not source:
        life.events.append(
            StateChanged(
                thread_id=life.thread_id, source=str(source), dest=str(State(life.state)), trigger=input_.trigger
            )
        )
