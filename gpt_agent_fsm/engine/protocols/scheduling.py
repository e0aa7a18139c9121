"""The interfaces of a clock and a scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "Scheduler", "Task"]


class Clock(Protocol):
    """Monotonic time, and the time of day."""

    def monotonic(self) -> float:
        """Return the seconds since a fixed moment. The value never decreases."""
        ...

    def time(self) -> float:
        """Return the time of day, in seconds since the epoch."""
        ...


class Task(Protocol):
    """A task that a scheduler calls repeatedly. Each task is the driver of one thread."""

    def tick(self) -> float | None:
        """Do one step of the task, called a tick. Return the time of the next tick, or None if no further tick is due.

        The time is in the clock's monotonic seconds.
        """
        ...

    def describe(self) -> str:
        """Return a text for the log that says what the task is doing."""
        ...


class Scheduler(Protocol):
    """Calls the `tick` of each task when the task is due or was woken. A task is in at most one tick at a time."""

    @property
    def clock(self) -> Clock:
        """The clock by which due times are measured."""
        ...

    def wake(self, task: Task) -> None:
        """Tick the task soon. If a tick of the task is running now, tick the task once more after it."""
        ...

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """Block until `done()` is true. Check it whenever `changed` is set.

        Return False if `timeout` seconds pass first.
        """
        ...

    def sleep(self, seconds: float) -> None:
        """Block the caller for this number of seconds. The code of a tick never calls this method."""
        ...

    def close(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the ticks that are due. After that, tick no more. Idempotent."""
        ...
