"""The result of one life, which is one simulated set of conversations."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["Life"]


@attrs.define
class Life:
    """What happened in one life, and the promises that were broken in it.

    Attributes:
        journal: every request and its fate, crashes and restarts, in order.
        violations: a sentence for each broken promise. Empty if all promises were kept.
        crashes: the number of crashes of a process.
        requests: the number of requests that were made.
        rows: the number of times that each row of the machine's table was taken, by the row's name.
    """

    seed: int
    journal: list[str] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    crashes: int = 0
    requests: int = 0
    rows: Counter[str] = attrs.field(factory=Counter)

    def report(self) -> str:
        """Return the whole life as text: the seed, the violations, the journal."""
        return "\n".join([f"seed {self.seed}", *self.violations, "", *self.journal])
