"""Invariant: after the user has cancelled and discarded everything, the thread posts no message and creates no run."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence with the number of messages that were posted and runs that were created after that."""
    if facts.started_when_dropped:
        yield f"posted or created {facts.started_when_dropped} although everything was dropped"
