"""The time that a database may take."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["Limit"]


class Limit(threading.local):
    """The time at which the statements of the current OS thread must have ended.

    A call of the store has `seconds` for all of its statements. When a store is opened, it may have to be migrated, so
    each statement has this many seconds.

    Attributes:
        seconds: how long a database may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._of_call: float | None = None

    @contextlib.contextmanager
    def of_one_call(self) -> Iterator[None]:
        """Let all statements of the block end in time."""
        self._of_call = time.monotonic() + self.seconds
        try:
            yield
        finally:
            self._of_call = None

    @property
    def deadline(self) -> float:
        """The time at which a statement that begins now must have ended, in monotonic seconds."""
        return time.monotonic() + self.seconds if self._of_call is None else self._of_call

    @property
    def remaining(self) -> float:
        """The number of seconds that are left, at least 0."""
        return max(self.deadline - time.monotonic(), 0.0)
