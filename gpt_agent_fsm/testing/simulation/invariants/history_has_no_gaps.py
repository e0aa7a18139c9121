"""Invariant: the records of a history are numbered from 1, without gaps."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if a number is missing, duplicated or out of order."""
    if [record.seq for record in facts.records] != list(range(1, len(facts.records) + 1)):
        yield "the history has gaps"
