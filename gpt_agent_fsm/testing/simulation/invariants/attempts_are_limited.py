"""Invariant: a request has at most `request_max_attempts` attempts, a cancel three times as many, a poll any number."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if a request had more attempts than that."""
    failed = [event for event in facts.happened if isinstance(event, events.RequestFailed)]
    # The library stops trying to end a run after twice as many attempts. It counts denied cancels separately.
    limits = {"get_run": float("inf"), "cancel_run": 3 * facts.max_attempts}
    if any(event.attempt > limits.get(event.operation, facts.max_attempts) for event in failed):
        yield "tried a request more often than allowed"
