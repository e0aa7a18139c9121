"""Wakes the callers that wait for a change of a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Changed", "Waiters"]


class Changed(threading.Event):
    """An event for one OS thread that waits. Unlike its base class, it may be set by a signal handler at any moment.

    The handler of an operating system signal may interrupt the OS thread that waits. In the base class, this OS thread
    may hold the lock that `set` needs, and the handler would wait forever. Here, `set` waits for nothing.

    `wait` may return too early, but only once for each call of `set`. So call it in a loop.
    """

    def __init__(self) -> None:
        # The base class makes its lock in its own `__init__`, which is not called.
        self._is_set = False
        self._quiet = threading.Lock()
        """Held until the event is set."""
        self._quiet.acquire()

    def __repr__(self) -> str:
        return f"<Changed at {id(self):#x}: {'set' if self._is_set else 'not set'}>"

    def is_set(self) -> bool:
        """Return whether `set` was called since the last call of `clear`."""
        return self._is_set

    def set(self) -> None:
        """Wake the OS thread that waits, or will wait."""
        self._is_set = True
        with contextlib.suppress(RuntimeError):  # it was set before, and nobody has waited since
            self._quiet.release()

    def clear(self) -> None:
        """Forget that the event was set."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until `set` is called, or until the timeout in seconds. Return whether the event is set."""
        if not self._is_set:
            self._quiet.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        return self._is_set


class Waiters:
    """The callers that wait for a change of a thread. Each waits for a `Changed`.

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
