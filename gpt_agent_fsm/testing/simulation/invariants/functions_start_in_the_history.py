"""Invariant: a function runs only after its start was saved in the history."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each execution whose start is not in the history."""
    started = {(event.id, event.attempt) for event in facts.happened if isinstance(event, events.ToolStarted)}
    for each in facts.executions:
        if (each.call_id, each.attempt) not in started:
            yield f"the function {each.name} ran for the call {each.call_id}, and start {each.attempt} was not saved"
