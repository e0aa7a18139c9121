"""Wakes the callers that wait for a change of a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Waiters"]


class Waiters:
    """The callers that wait for a change of a thread. Each waits for a `threading.Event`.

    May be used from any OS thread. Waking a caller for nothing would cost as much as a tick, because the caller must
    take and release Python's global lock. So most callers say for which changes they wait.

    Args:
        lock: held for a few lines while a caller is added or removed.
    """

    __slots__ = ("_lock", "_waiting")

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._waiting: tuple[tuple[threading.Event, Callable[[], bool]], ...] = ()

    @contextlib.contextmanager
    def added(self, changed: threading.Event, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Set `changed` at each change of the thread after which `when()` is true, until the `with` block ends.

        `when` is called on the OS thread that has made the change.
        """
        entry = (changed, when)
        with self._lock:
            self._waiting = (*self._waiting, entry)
        try:
            yield
        finally:
            with self._lock:
                self._waiting = tuple(each for each in self._waiting if each is not entry)

    def notify(self) -> None:
        """Wake the callers that wait for this change, by setting their events."""
        # The lock is not held here, because `when` may take other locks.
        for changed, when in self._waiting:
            if when():
                changed.set()

    def __len__(self) -> int:
        return len(self._waiting)
