"""Invariant: every thread settles when the faults are off and its user answers the tool calls."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield the saved data of a stuck thread."""
    if not facts.settled:
        yield f"is stuck: {facts.saved}"
