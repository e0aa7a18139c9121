"""Invariant: a function that is declared safe runs at most once per start; others run at most once per call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each call for which a function ran too often."""
    starts = Counter(event.id for event in facts.happened if isinstance(event, events.ToolStarted))
    ran = Counter((each.call_id, each.name, each.is_safe) for each in facts.executions)
    for (call_id, name, is_safe), count in ran.items():
        if count > (starts[call_id] if is_safe else 1):
            yield f"the function {name} ran {count} times for the call {call_id}"
