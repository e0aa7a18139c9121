"""A limit for the time that a database may take."""

from __future__ import annotations

import threading
import time

__all__ = ["Limit"]


class Limit(threading.local):
    """The time by which the current OS thread's statements must have ended.

    In a `with` block, `seconds` is the limit for all statements together. Outside, it is the limit for each statement:
    while a store is being opened, data may have to be migrated.

    Attributes:
        seconds: the seconds that a database may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._of_call: float | None = None

    def __enter__(self) -> None:
        """Let all statements inside the `with` block share one deadline."""
        self._of_call = time.monotonic() + self.seconds

    def __exit__(self, *_: object) -> None:
        self._of_call = None

    @property
    def deadline(self) -> float:
        """The time, in monotonic seconds, at which a statement that begins now must have ended."""
        return time.monotonic() + self.seconds if self._of_call is None else self._of_call

    @property
    def remaining(self) -> float:
        """The number of seconds until the deadline. It is never negative."""
        return max(self.deadline - time.monotonic(), 0.0)
