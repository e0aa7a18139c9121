"""Invariant: the user receives every event of the history from at least one process."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield the first event that the user never received."""
    missing = [event for event in facts.happened if event not in facts.heard]
    if missing:
        yield f"never received {missing[0]}"
