"""Invariant: if the user has cancelled a run, the run is not repeated, even if a rate limit ends it."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each cancelled run that was announced as rate limited and not as failed."""
    for event in facts.happened:
        if isinstance(event, events.RateLimited) and event.run_id in facts.cancelled:
            yield f"run {event.run_id} was repeated although the user had cancelled it"
