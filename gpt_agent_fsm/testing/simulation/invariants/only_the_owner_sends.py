"""Invariant: no process sends a request after its deadline, or after another process has taken the store over."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each request that was sent without the right to send it."""
    for request in facts.sent_without_right:
        yield f"sent without the right to: {request}"
