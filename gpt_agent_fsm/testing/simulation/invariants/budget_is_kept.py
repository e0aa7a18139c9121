"""Invariant: if the library knows that a token limit is reached, it posts no message and creates no run."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each request that was sent although the limit was reached."""
    for request in facts.beyond_limit:
        yield f"sent although the tokens were used up: {request}"
