"""Counts how often each row of the machine's table is taken, for tests and simulations."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

__all__ = ["hit", "rows_taken"]

_counters: list[Counter[str]] = []


def hit(story: str) -> None:
    """Count that the row with this story was taken. The story is the short text that names the row."""
    for counter in _counters:
        counter[story] += 1


@contextlib.contextmanager
def rows_taken() -> Iterator[Counter[str]]:
    """Count how often each row is taken until the `with` block ends, on all OS threads of the process.

    The counts are by story, which is the short text that names a row.
    """
    counter: Counter[str] = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)
