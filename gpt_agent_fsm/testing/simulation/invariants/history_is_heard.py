"""The user is told every event of the history, over all processes."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield the first event that the user was never told."""
    missing = [event for event in facts.happened if event not in facts.heard]
    if missing:
        yield f"was never told {missing[0]}"
