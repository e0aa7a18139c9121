"""A store in memory. It lasts as long as the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import attrs

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import Event
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved, ThreadRow, Usage, oldest_kept

__all__ = ["MemoryStore"]


@attrs.define
class _Thread:
    snapshot: Snapshot
    due: float | None = None
    inbox: list[tuple[int, Command]] | None = None
    """None if no command waits, because an idle thread should take little memory."""
    accepted: int = 0
    records: list[Record] = attrs.field(factory=list)
    announced: int = 0
    forgotten: int = 0
    """How many records were pruned. `records` begins after them."""

    @property
    def last_seq(self) -> int:
        return self.forgotten + len(self.records)

    @property
    def rests(self) -> bool:
        return self.snapshot.owes_nothing and not self.inbox and self.announced == self.last_seq

    def after(self, seq: int) -> list[Record]:
        return self.records[max(seq - self.forgotten, 0) :]

    def page(self, seq: int, limit: int, *, newest: bool) -> list[Record]:
        first = max(seq - self.forgotten, len(self.records) - limit if newest else 0, 0)
        return self.records[first : first + limit]

    def prune(self, until: float) -> int:
        if not self.rests:
            return 0
        old = next((index for index, record in enumerate(self.records) if record.at > until), len(self.records))
        self.forget(old)
        return old

    def forget(self, count: int) -> None:
        """Forget the first `count` records; none if `count` is negative."""
        del self.records[: max(count, 0)]
        self.forgotten += max(count, 0)

    def row(self) -> ThreadRow:
        last = self.records[-1] if self.records else None
        kind, at = (None, None) if last is None else (type(last.event).__name__, last.at)
        return ThreadRow(snapshot=self.snapshot, last_event=kind, last_event_at=at, commands=len(self.inbox or ()))

    def saved(self) -> Saved:
        return Saved(
            snapshot=self.snapshot,
            due=self.due,
            inbox=tuple(self.inbox or ()),
            unannounced=tuple(self.after(self.announced)),
            last_seq=self.last_seq,
        )


class MemoryStore:
    """Keeps everything in memory. A stopped agent can be resumed while the process lives, but not later.

    If the process forks, every method except `close` raises `UsedAfterFork` in the child.

    Args:
        keep_history: how many of its newest records a thread keeps; None means all. Records that were not announced yet
            are always kept. Raises `ValueError` if it is not a whole number from 1 up.
    """

    ends_with_process = True
    """True if the data is lost when the process ends. If an agent stops with unfinished work, the log warns about
    this."""
    commits_announced = True
    """See `Store`."""

    def __init__(self, keep_history: int | None = None) -> None:
        if keep_history is not None and (type(keep_history) is not int or keep_history < 1):
            raise ValueError(f"MemoryStore: keep_history must be a whole number from 1 up, not {keep_history!r}")
        self._keep_history = keep_history
        self._origin = Origin("MemoryStore")
        self._own_lock = threading.Lock()
        self._threads: dict[str, _Thread] = {}
        self._keys: dict[str, str] = {}

    @property
    def _lock(self) -> threading.Lock:
        """The lock that each call holds.

        Raises `UsedAfterFork` in a forked child, because the child has only a copy of the data.
        """
        self._origin.check()
        return self._own_lock

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        with self._lock:
            return self._threads[thread_id].saved() if thread_id in self._threads else None

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`. Raises `StoreError` for a thread that was never committed."""
        with self._lock:
            if thread_id not in self._threads:
                raise StoreError(f"There is no thread {thread_id!r} in this store: commit a snapshot of it first.")
            thread = self._threads[thread_id]
            thread.accepted += 1
            thread.inbox = thread.inbox or []
            thread.inbox.append((thread.accepted, command))
            return thread.accepted

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
        announced: bool = False,
    ) -> Sequence[Record]:
        """See `Store.commit`. The queue is kept with the rest of the snapshot."""
        del queue
        with self._lock:
            thread = self._threads.setdefault(snapshot.thread_id, _Thread(snapshot))
            thread.snapshot, thread.due = snapshot, due
            if thread.inbox and thread.inbox[0][0] <= consumed:
                thread.inbox = [entry for entry in thread.inbox if entry[0] > consumed] or None
            first = thread.last_seq + 1
            records = [Record(seq=seq, at=at, event=event) for seq, event in enumerate(events, first)]
            thread.records.extend(records)
            if announced:
                self._note_announced(thread, thread.last_seq)
            return records

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`. Does nothing for an unknown thread."""
        with self._lock:
            if thread_id in self._threads:
                self._note_announced(self._threads[thread_id], seq)

    def _note_announced(self, thread: _Thread, seq: int) -> None:
        thread.announced = max(thread.announced, min(seq, thread.last_seq))
        if self._keep_history is not None:
            thread.forget(min(len(thread.records) - self._keep_history, thread.announced - thread.forgotten))

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        with self._lock:
            return self._threads[thread_id].after(after) if thread_id in self._threads else []

    def history_page(self, thread_id: str, *, after: int, limit: int, newest: bool = False) -> Sequence[Record]:
        """See `PagingStore.history_page`."""
        with self._lock:
            return self._threads[thread_id].page(after, limit, newest=newest) if thread_id in self._threads else []

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`."""
        with self._lock:
            every = {thread_id: thread.saved() for thread_id, thread in self._threads.items()}
            return {
                thread_id: saved
                for thread_id, saved in every.items()
                if saved.inbox or saved.unannounced or not saved.snapshot.settled
            }

    def claim_key(self, key: str, thread_id: str) -> str:
        """See `KeyedStore.claim_key`."""
        with self._lock:
            return self._keys.setdefault(key, thread_id)

    def find(self, key: str) -> str | None:
        """See `KeyedStore.find`."""
        with self._lock:
            return self._keys.get(key)

    def usage(self) -> Usage:
        """See `CountingStore.usage`."""
        with self._lock:
            return sum((thread.snapshot.usage for thread in self._threads.values()), Usage())

    def threads(self) -> Sequence[ThreadRow]:
        """See `ListingStore.threads`. Unlike in `SQLStore`, queued messages have their contents."""
        with self._lock:
            return [thread.row() for _, thread in sorted(self._threads.items())]

    def prune(self, older_than: float | timedelta) -> int:
        """See `PrunableStore.prune`."""
        until = oldest_kept(older_than, time.time())
        with self._lock:
            return sum(thread.prune(until) for thread in self._threads.values())

    def close(self) -> None:
        """Do nothing: there are no resources to release."""
