"""Invariant: a function that needs an approval runs only after the approval."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each execution without an approval."""
    for each in facts.executions:
        if not each.is_allowed:
            yield f"the function {each.name} ran for the call {each.call_id} without an approval"
