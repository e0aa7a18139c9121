"""Counts which rows of the table were taken, for tests and simulations."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

__all__ = ["hit", "rows_taken"]

_counters: list[Counter[str]] = []


def hit(story: str) -> None:
    """Note that the row with this story was taken."""
    for counter in _counters:
        counter[story] += 1


@contextlib.contextmanager
def rows_taken() -> Iterator[Counter[str]]:
    """Count by story, on all threads of the process, how often each row is taken until the `with` block ends."""
    counter: Counter[str] = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)
