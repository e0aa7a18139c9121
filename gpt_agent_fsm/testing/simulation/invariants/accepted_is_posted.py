"""Invariant: an accepted message is on the server, unless the user discarded it or the server always refuses it."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield the messages that were lost."""
    lost = [word for word in facts.accepted if word not in facts.posted and word not in facts.excused]
    if lost and facts.strict:
        yield f"messages {lost} were accepted and are not on the server"
