"""Remembers the metadata of conversations for a short time, so that they need not be read before each write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["KnownMetadata"]

_FRESH = 30.0
"""Seconds after which the metadata are read again. What another program writes in the meantime is lost at the
backend's next write."""
_MAX_KNOWN = 100_000


class KnownMetadata:
    """The metadata of conversations that were read or written recently. May be used from any OS thread.

    Args:
        now: returns the time in monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Mapping[str, Any]]] = {}
        """For each conversation, when its metadata were read, and the metadata with what was written since."""

    def read(self, thread_id: str, metadata: Mapping[str, Any]) -> None:
        """Remember metadata that the server has just sent."""
        self._keep(thread_id, self._now(), metadata)

    def written(self, thread_id: str, metadata: Mapping[str, Any]) -> None:
        """Remember metadata that were just written. They are as old as the read that they are based on."""
        with self._lock:
            since = self._known.get(thread_id)
        if since is not None:
            self._keep(thread_id, since[0], metadata)

    def _keep(self, thread_id: str, since: float, metadata: Mapping[str, Any]) -> None:
        with self._lock:
            self._known.pop(thread_id, None)
            self._known[thread_id] = (since, metadata)
            while len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def forget(self, thread_id: str) -> None:
        """Forget the metadata, because it is unknown what the server has."""
        with self._lock:
            self._known.pop(thread_id, None)

    def last(self, thread_id: str) -> Mapping[str, Any] | None:
        """Return the metadata as they were last seen, even long ago. Return None if they were never seen."""
        with self._lock:
            return self._known.get(thread_id, (0.0, None))[1]

    def get(self, thread_id: str) -> Mapping[str, Any] | None:
        """Return the metadata, or None if they must be read."""
        with self._lock:
            since, metadata = self._known.get(thread_id, (0.0, None))
        return metadata if metadata is not None and self._now() < since + _FRESH else None
