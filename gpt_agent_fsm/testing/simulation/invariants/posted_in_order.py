"""Invariant: messages are posted in the order of their acceptance, but one that interrupts a run may come earlier."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield both orders if they differ. Other invariants check for lost and duplicated messages."""
    accepted, posted = list(facts.accepted), list(facts.posted)
    order = [word for word in dict.fromkeys(posted) if word in accepted]
    overtaken = [
        (earlier, later)
        for place, later in enumerate(order)
        for earlier in order[place + 1 :]
        if accepted.index(earlier) < accepted.index(later) and later not in facts.interrupting
    ]
    if facts.strict and overtaken:
        yield f"messages were accepted as {accepted} and posted as {posted}"
