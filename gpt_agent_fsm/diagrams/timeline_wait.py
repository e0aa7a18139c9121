"""The wait of a thread that is not at rest: what a timeline shows after the last record, up to now.

As everything in a timeline, the names contain no text of a message and no text of an error.
"""

from __future__ import annotations

import attrs

from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.waits import waiting_calls

__all__ = ["RATE_LIMIT", "Wait", "wait_of"]

RATE_LIMIT = "rate limit"


@attrs.frozen(kw_only=True)
class Wait:
    """A wait that lasts until now.

    Attributes:
        name: what the thread waits for.
        since: when the wait began, in seconds since the epoch; None if it is not known.
        queued: the number of queued messages.
        needs_person: True if nothing is tried until a person acts.
    """

    name: str
    since: float | None
    queued: int
    needs_person: bool


def wait_of(snapshot: Snapshot) -> Wait | None:
    """Return what the thread waits for, or None if it is at rest."""
    if snapshot.owes_nothing:
        return None
    return Wait(
        name=_name(snapshot),
        since=None if snapshot.waiting is None else snapshot.waiting.since,
        queued=len(snapshot.queue),
        needs_person=snapshot.settled,
    )


def _name(snapshot: Snapshot) -> str:
    run, reading = snapshot.run, snapshot.cursor.reading
    if run is not None:
        return _of_run(snapshot)
    if snapshot.settled:
        return "parked"
    if snapshot.state is State.RATE_LIMITED:
        return RATE_LIMIT
    if snapshot.outbox.owed is not None:
        return "creation of a run"
    if reading is not None and not reading.postponed:
        return f"messages of {reading.run_id}"
    return "posting of a message" if snapshot.queue else "check for a run"


def _of_run(snapshot: Snapshot) -> str:
    if snapshot.run is not None and snapshot.run.ending is not None:
        return f"end of {snapshot.run_id}"
    if calls := waiting_calls(snapshot):
        what = "approval" if calls[0].waits_for_a_person else "output"
        more = f" and {len(calls) - 1} more" if len(calls) > 1 else ""
        return f"{what} of {calls[0].name}{more}"
    return f"outputs of {snapshot.run_id}" if snapshot.state is State.SUBMITTING else f"answer of {snapshot.run_id}"
