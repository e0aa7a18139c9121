"""Invariant: an agent announces each event of the history once, in order, and no other event except its own end."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if the announced events differ from the history.

    After a crash, the next agent announces the history again. So the check is made only if there was a single agent.
    """
    told = tuple(event for event in facts.heard if not isinstance(event, events.AgentStopped))
    if facts.agents == 1 and told != facts.happened:
        yield "received an event twice, or out of order, without a crash"
