"""Invariant: if a run is announced as failed, it failed on the server, or the library or its user has ended it."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]

_ENDED_HERE = ("cancelled", "timeout", "unsupported_action", "max_tool_rounds")


def check(facts: Facts) -> Iterator[str]:
    """Yield each run that was announced as failed by mistake."""
    # A run that was found by its messages cannot be found again if a message arrives later than the model allows.
    excused = _ENDED_HERE if facts.strict or facts.lists_runs else (*_ENDED_HERE, "not_found")
    for event in facts.happened:
        if isinstance(event, events.RunFailed) and event.code not in excused and event.id not in facts.failed_runs:
            yield f"run {event.id} was announced as failed ({event.code}), but has not failed"
