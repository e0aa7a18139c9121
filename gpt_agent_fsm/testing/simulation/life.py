"""The result of one life."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["Life"]


@attrs.define
class Life:
    """What happened in one life, and what was wrong with it.

    Attributes:
        journal: every request and its fate, crashes and restarts, in order.
        violations: a sentence for each promise that was broken; empty for a good life.
        crashes: how often the process died.
        requests: how many requests were made.
        rows: how often each row of the machine's table was taken, by the row's name.
    """

    seed: int
    journal: list[str] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    crashes: int = 0
    requests: int = 0
    rows: Counter[str] = attrs.field(factory=Counter)

    def report(self) -> str:
        """Return all of it as text: the seed, what was wrong, the journal."""
        return "\n".join([f"seed {self.seed}", *self.violations, "", *self.journal])
