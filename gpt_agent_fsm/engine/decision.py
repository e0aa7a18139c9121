"""Decides what follows from the commands and facts of a thread. Every input that is not a command is a fact.

For example, the answer to a request is a fact. The decision is pure, except that it writes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.waits import with_waiting
from gpt_agent_fsm.settings import Settings

__all__ = ["Decision", "decide"]

log: Log = get_logger(__name__)


@attrs.frozen(kw_only=True)
class Decision:
    """The result of a decision: the next snapshot, the effects to carry out, and the events.

    Attributes:
        facts: the number of facts that the decision is based on.
        consumed: the number of the last command that the decision is based on; 0 without commands.
        dropped: True if one of these facts or commands was not handled because of a defect of the library.
    """

    snapshot: Snapshot
    wanted: Sequence[effects.Effect]
    happened: Sequence[events.Event]
    facts: int
    consumed: int
    dropped: bool


def decide(
    snapshot: Snapshot,
    facts: Sequence[inputs.Input],
    commands: Sequence[tuple[int, inputs.Command]],
    settings: Settings,
    at: float,
) -> Decision:
    """Apply all facts to a snapshot, then all numbered commands. `at` is the time, in seconds since the epoch."""
    before, wanted, happened, dropped = snapshot, list[effects.Effect](), list[events.Event](), False
    for input_ in (*facts, *(command for _, command in commands)):
        try:
            snapshot, new_effects, new_events = advance(snapshot, input_, settings)
        except Exception:
            # A defect of the library: continue from the saved snapshot, as after a crash.
            log.exception("%s: %s was dropped", snapshot.thread_id, input_.trigger)
            dropped = True
            continue
        if any(isinstance(effect, effects.Request) and effect.changes_server for effect in new_effects):
            # The request is not made yet, so it does not count as sent: handlers are called first, and the gate may
            # hold it back.
            snapshot = snapshot.with_request(sent=False)
        wanted.extend(new_effects)
        happened.extend(new_events)
        _log_ignored(snapshot.thread_id, input_, new_effects)
    consumed = commands[-1][0] if commands else 0
    snapshot = with_waiting(before, snapshot, at)
    return Decision(
        snapshot=snapshot, wanted=wanted, happened=happened, facts=len(facts), consumed=consumed, dropped=dropped
    )


def _log_ignored(thread_id: str, input_: inputs.Input, happened: Iterable[effects.Effect]) -> None:
    """Log ignored inputs: a command without effect as a warning, an outdated fact at a lower level."""
    for effect in happened:
        if isinstance(effect, effects.Ignore):
            # `ask` gives the command `WithdrawMessage` by itself, without knowing whether it has an effect.
            is_called = isinstance(input_, inputs.Command) and not isinstance(input_, inputs.WithdrawMessage)
            level = logging.WARNING if is_called else logging.DEBUG
            log.log(level, "%s: %s was ignored: %s", thread_id, input_.trigger, effect.reason)
