"""Invariant: a run is created at most once, if the API can list runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each run that is on the server several times."""
    if facts.strict and facts.lists_runs:
        for key, count in Counter(facts.run_keys).items():
            if count > 1:
                yield f"run {key} was created {count} times"
