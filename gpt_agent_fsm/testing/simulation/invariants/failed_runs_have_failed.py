"""A run that is announced as failed has failed on the server, or the library or its user ended it."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]

_ENDED_HERE = ("cancelled", "timeout", "unsupported_action")


def check(facts: Facts) -> Iterator[str]:
    """Yield each run that was announced as failed by mistake."""
    for event in facts.happened:
        if isinstance(event, events.RunFailed) and event.code not in _ENDED_HERE and event.id not in facts.failed_runs:
            yield f"run {event.id} was announced as failed ({event.code}), but has not failed"
