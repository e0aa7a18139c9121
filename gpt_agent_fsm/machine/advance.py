"""The pure core of the machine: `advance(snapshot, input)` returns the next snapshot, the effects and the events.

The core knows no clock, OS thread, random number, log or HTTP. If something needs one of these, the core returns an
effect. The rules are in `gpt_agent_fsm.machine.table`. Guards and actions use a working copy of the snapshot. So if an
error occurs while an input is handled, the snapshot does not change.
"""

from __future__ import annotations

from gpt_agent_fsm.errors import IllegalInput
from gpt_agent_fsm.events import Event, StateChanged
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.driving import build_machine, rules_of
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import AFTER_EACH
from gpt_agent_fsm.machine.waits import note_failure
from gpt_agent_fsm.machine.working_copy import WorkingCopy
from gpt_agent_fsm.settings import Settings

__all__ = ["advance"]

_DEFAULTS = Settings()
_RULES = rules_of(build_machine())


def advance(
    snapshot: Snapshot, input_: inputs.Input, settings: Settings = _DEFAULTS
) -> tuple[Snapshot, tuple[effects.Effect, ...], tuple[Event, ...]]:
    """Return the snapshot after `input_`, the effects to carry out in order, and the events to announce in order.

    At most one effect is a request. A request or a `Wait` (a new timer) among the effects replaces the timer that was
    set before. Raises `IllegalInput` if the machine has no row for the input. The argument `snapshot` is never changed.
    """
    copy = WorkingCopy(snapshot, settings)
    _trigger(copy, input_)
    while copy.followed_by is not None:
        _trigger(copy, copy.followed_by)
    states, guard, question = AFTER_EACH
    if copy.state in states and guard(copy, question):
        _trigger(copy, question)
    note_failure(copy, input_)
    return copy.freeze(), tuple(copy.effects), tuple(copy.events)


def _trigger(copy: WorkingCopy, input_: inputs.Input) -> None:
    source, copy.followed_by = copy.state, None
    trigger = input_.trigger
    rules = _RULES[source].get(trigger)
    if rules is None:
        raise IllegalInput(f"{trigger} cannot happen in state {source}")
    for guard, take, dest in rules:
        if guard is None or guard(copy, input_):
            take(copy, input_)
            _move(copy, dest, trigger)
            return
    raise IllegalInput(f"no row of the table takes {trigger} in state {source}")


def _move(copy: WorkingCopy, dest: State | None, trigger: str) -> None:
    source = copy.state
    if dest is not None and dest is not source:
        copy.state = dest
        copy.events.append(StateChanged(thread_id=copy.thread_id, source=str(source), dest=str(dest), trigger=trigger))
