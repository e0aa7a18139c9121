"""Invariant: a message is on the server at most once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each message that is on the server several times."""
    if facts.strict:
        for word, count in Counter(facts.posted).items():
            if count > 1:
                yield f"message {word!r} is on the server {count} times"
