"""Invariant: the server accepts at most one output for each tool call."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each call with several outputs."""
    for call_id, outputs in facts.outputs.items():
        if len(outputs) > 1:
            yield f"tool call {call_id} was answered {len(outputs)} times"
