"""The action that announces that a thread has been waiting for the same thing for a long time."""

from __future__ import annotations

import math

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.reasons import reason_of
from gpt_agent_fsm.machine.working_copy import WorkingCopy


def announce_stall(copy: WorkingCopy, fact: inputs.StillWaiting) -> None:
    assert copy.waiting is not None  # noqa: S101 - the guard has seen to it
    copy.events.append(
        events.ThreadStalled(
            thread_id=copy.thread_id,
            reason=reason_of(copy.freeze()),
            since=copy.waiting.since,
            next_look=fact.next_look,
        )
    )
    first = copy.settings.stall_after or fact.seconds
    # If the program was stopped for long, the wait may have doubled several times since it was last announced.
    doublings = int(math.log2(fact.seconds / first)) if fact.seconds > first else 0
    copy.waiting = attrs.evolve(copy.waiting, told=max(copy.waiting.told, doublings) + 1)
