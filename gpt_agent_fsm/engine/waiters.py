"""Wakes the callers that wait for a change of a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Waiters"]


class Waiters:
    """The callers that wait for a change of a thread. Each waits for a `threading.Event`.

    May be used from any OS thread.
    """

    __slots__ = ("_events", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._events: list[threading.Event] = []

    @contextlib.contextmanager
    def added(self, changed: threading.Event) -> Iterator[None]:
        """Set `changed` at each change of the thread, until the `with` block ends."""
        with self._lock:
            self._events.append(changed)
        try:
            yield
        finally:
            with self._lock:
                self._events.remove(changed)

    def notify(self) -> None:
        """Wake all waiting callers, by setting their events."""
        with self._lock:
            for event in self._events:
                event.set()

    def __len__(self) -> int:
        return len(self._events)
