"""A request has at most as many attempts as the settings allow; polls of a run have no limit."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if a request had more attempts."""
    failed = [event for event in facts.happened if isinstance(event, events.RequestFailed)]
    if any(event.attempt > facts.max_attempts for event in failed if event.operation != "get_run"):
        yield "tried a request more often than allowed"
