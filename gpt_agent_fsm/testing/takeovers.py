"""Measures how long threads have no living worker, and finds requests that a worker sends after it has lost a thread.

Both look into the tables of the cluster, on connections of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import attrs
import psycopg

__all__ = ["Database", "Takeover", "Takeovers", "figures"]

_HAS_WORK = "(t.unfinished OR EXISTS (SELECT 1 FROM gpt_agent_inbox i WHERE i.thread_id = o.thread_id))"
_LEFT_BEHIND = f"""
SELECT o.thread_id, o.epoch FROM gpt_agent_owners o JOIN gpt_agent_threads t ON t.thread_id = o.thread_id
WHERE o.worker ~ %s AND {_HAS_WORK}
"""  # noqa: S608 - our own names
_STATES = f"""
SELECT o.thread_id, o.epoch, {_HAS_WORK}
FROM gpt_agent_owners o JOIN gpt_agent_threads t ON t.thread_id = o.thread_id WHERE o.thread_id = ANY(%s)
"""  # noqa: S608 - our own names
_LOOK = 0.1


class Database:
    """Asks a database on one connection. If the connection breaks, it makes a new one. Use it from one OS thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Repeat it while the database is away."""
        while True:
            rows = self.try_to_ask(statement, *values)
            if rows is not None:
                return rows
            time.sleep(_LOOK)

    def try_to_ask(self, statement: str, *values: object) -> list[tuple[Any, ...]] | None:
        """Return the rows of a query, or None if the database does not answer, or has no tables yet."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            return self._connection.execute(statement.encode(), values or None).fetchall()
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            # The database is away, or no process has made the tables yet.
            self.close()
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@attrs.define
class Takeover:
    """A thread that had work when its worker was killed or frozen.

    Attributes:
        epoch: how often it had been claimed before.
        since: when the worker was killed or frozen.
        last_fault: when the last fault happened that can delay the takeover.
        taken: when another worker had claimed the thread; None if none has.
    """

    thread_id: str
    epoch: int
    since: float
    last_fault: float
    taken: float | None = None

    @property
    def was_disturbed(self) -> bool:
        """True if there was another fault before the thread was taken."""
        return self.last_fault > self.since


class Takeovers:
    """Watches the threads of workers that were killed or frozen. Safe to use from any OS thread."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._asking = Database(url)
        self._lock = threading.Lock()
        self._waiting: list[Takeover] = []
        self.done: list[Takeover] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="takeovers", daemon=True)
        self._thread.start()

    def note_fault(self, now: float) -> None:
        """Note that something has happened that delays the takeovers in progress."""
        with self._lock:
            for each in self._waiting:
                each.last_fault = now

    def watch(self, pid: int, since: float) -> int:
        """Watch the threads with work of a worker that does nothing since then. Return how many there are."""
        rows = self._asking.ask(_LEFT_BEHIND, f"-{pid}-[0-9a-f]+$")
        with self._lock:
            self._waiting += [Takeover(thread_id, epoch, since, since) for thread_id, epoch in rows]
        return len(rows)

    @property
    def waiting(self) -> Sequence[Takeover]:
        """The threads that no worker has taken yet."""
        with self._lock:
            return tuple(self._waiting)

    def close(self) -> None:
        """End the watching."""
        self._stopped.set()
        self._thread.join()
        self._database.close()
        self._asking.close()

    def _work(self) -> None:
        while not self._stopped.wait(_LOOK):
            waiting = self.waiting
            if not waiting:
                continue
            now = time.monotonic()
            rows = self._database.try_to_ask(_STATES, [each.thread_id for each in waiting]) or ()
            states = {thread_id: (epoch, has_work) for thread_id, epoch, has_work in rows}
            for each in waiting:
                epoch, has_work = states.get(each.thread_id, (0, True))
                if epoch > each.epoch:
                    each.taken = now
                    self.done.append(each)
                elif has_work:
                    continue
                # Else its last commit was on its way, or a frozen worker has continued in time.
                with self._lock:
                    self._waiting.remove(each)


def figures(seconds: Sequence[float]) -> str:
    """Return percentiles of these times as a text."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)

    def percentile(part: float) -> str:
        return f"{ordered[min(len(ordered) - 1, int(part * len(ordered)))]:.1f}"

    shown = ", ".join(f"p{part} {percentile(part / 100)}" for part in (50, 90, 99))
    return f"{len(ordered)}: {shown}, longest {ordered[-1]:.1f} s"
