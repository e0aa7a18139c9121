"""Invariant: a thread with deadlines comes to rest, and a thread without deadlines announces that it waits."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if the thread did not come to rest, or if it is parked and no failure was announced."""
    if not facts.rested:
        yield f"did not come to rest after its deadlines, or did not say that it waits: {facts.saved}"
    told = any(
        isinstance(event, events.BudgetExceeded) or (isinstance(event, events.RequestFailed) and not event.will_retry)
        for event in facts.happened
    )
    if facts.saved is not None and facts.saved.snapshot.outbox.parked and not told:
        yield "is parked, and the user was not told why"
