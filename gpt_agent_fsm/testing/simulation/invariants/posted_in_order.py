"""Messages are on the server in the order in which they were accepted."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield both orders if they differ; other invariants check for lost and duplicated messages."""
    accepted, posted = list(facts.accepted), list(facts.posted)
    order = [word for word in dict.fromkeys(posted) if word in accepted]
    if facts.strict and order != [word for word in accepted if word in posted]:
        yield f"messages were accepted as {accepted} and posted as {posted}"
