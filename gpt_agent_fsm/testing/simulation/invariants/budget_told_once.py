"""Invariant: a reached token limit is announced once, until the limit or the used tokens change."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each limit that was announced a second time, or before it was reached."""
    told = [(event.used, event.limit) for event in facts.happened if isinstance(event, events.BudgetExceeded)]
    for used, limit in told:
        if used < limit:
            yield f"the limit {limit} was announced when {used} tokens were used"
    for before, after in pairwise(told):
        if before == after and not facts.limits_change:
            yield f"the limit {after[1]} was announced twice for {after[0]} tokens"
