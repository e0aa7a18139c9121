"""Invariant: no request is sent after its deadline, or by a process whose store another process has taken over."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each request that was sent without the right to send it."""
    for request in facts.sent_without_right:
        yield f"sent without the right to: {request}"
