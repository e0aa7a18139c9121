"""The interface of an engine that finds a worker for a thread."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol, TypeAlias

import sqlalchemy as sa

__all__ = ["Own", "Placer", "Placing"]

Own: TypeAlias = Callable[[str, Callable[[], None]], bool]
"""`own(thread_id, done)` claims a thread and drives it. It returns False if the thread cannot be claimed.

It blocks for a few queries. Later, when this process drives the thread no more, it calls `done` from any OS thread.
"""


class Placing(Protocol):
    """An engine that is working in this process."""

    def stop(self) -> None:
        """Take no more threads. Does not block. Idempotent."""
        ...

    def close(self) -> None:
        """End, after `stop`. Blocks for a moment. Idempotent."""
        ...


class Placer(Protocol):
    """Finds a worker for a thread. What it remembers is only a hint: the thread's own row decides who drives it.

    So an engine may forget a thread, or hand it over twice. A thread that is forgotten is offered again.
    """

    def prepare(self, connection: sa.Connection) -> None:
        """Make the engine's tables, if they are missing. Only one process at a time calls this."""
        ...

    def offer(self, connection: sa.Connection, thread_ids: Collection[str]) -> None:
        """Ask for a worker for these threads, as a part of the transaction of `connection`, which has begun."""
        ...

    def waiting(self, connection: sa.Connection, thread_ids: Collection[str]) -> Collection[str]:
        """Return those of these threads that were offered, and that the engine has not handed to a worker yet."""
        ...

    def work(self, concurrency: int, own: Own) -> Placing:
        """Begin to take threads in this process, at most `concurrency` at the same time."""
        ...

    def clean_up(self, connection: sa.Connection) -> None:
        """Forget what workers have left behind that no longer run."""
        ...
