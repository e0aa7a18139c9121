"""The interfaces of a store."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

import attrs

from gpt_agent_fsm.events import AssistantMessageDelta, Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot

__all__ = [
    "CountingStore",
    "KeyedStore",
    "ListingStore",
    "MarkedStore",
    "PagingStore",
    "PrunableStore",
    "Record",
    "Saved",
    "SharedStore",
    "Store",
    "ThreadRow",
    "oldest_kept",
]


@attrs.frozen(kw_only=True)
class Record:
    """One event in a thread's history.

    Attributes:
        seq: the number of the record. Each thread counts its records from 1, without gaps.
        at: when the event was saved, in seconds since the epoch.
    """

    seq: int
    at: float
    event: Event


@attrs.frozen(kw_only=True)
class Saved:
    """All data that a store keeps about one thread, without its history.

    Attributes:
        snapshot: the snapshot that was committed last, with its queue.
        due: when the timer ends, in seconds since the epoch; None if no timer was set.
        inbox: the accepted commands that the snapshot does not contain yet, each with its number, in order.
        unannounced: the records that were not announced yet, in order.
        last_seq: the number of the newest record; 0 if there are no records.
    """

    snapshot: Snapshot
    due: float | None = None
    inbox: tuple[tuple[int, Command], ...] = ()
    unannounced: tuple[Record, ...] = ()
    last_seq: int = 0


@attrs.frozen(kw_only=True)
class ThreadRow:
    """One thread in the list of all threads.

    Attributes:
        snapshot: the snapshot that was committed last. The messages of its queue have no content: it only shows how
            many messages wait, and whether the first one is in doubt.
        last_event: the name of the class of the newest event; None if there is no event, or if it was pruned.
        last_event_at: when that event was saved, in seconds since the epoch.
        commands: how many accepted commands the snapshot does not contain yet.
    """

    snapshot: Snapshot
    last_event: str | None = None
    last_event_at: float | None = None
    commands: int = 0


@runtime_checkable
class Store(Protocol):
    """Keeps the data of threads. Safe to call from any OS thread. When a call returns, its data is saved.

    If a call cannot save the data, it raises an error and changes nothing. For a full disk or a locked file the error
    is a `StoreError`. If the connection to the store breaks, it may be unknown whether the call changed something. If
    this happens to `commit`, the engine repeats the call with arguments that are equal except for the times, and the
    store recognises the repetition. If it happens to `accept`, and the command was saved after all, the store
    removes the command.

    A store whose data end with the process has the attribute `ends_with_process = True`. Without it, a store counts as
    durable; see `RunRequest.durable`.

    A store with the attribute `commits_announced = True` lets `commit` take one more keyword, `announced`. With
    `announced=True`, the new records count as announced, because no handler follows them. This spares a transaction.
    """

    def load(self, thread_id: str) -> Saved | None:
        """Return the data of a thread, or None."""
        ...

    def accept(self, thread_id: str, command: Command) -> int:
        """Save a command for a thread that has been committed before. Return its number.

        Each command of a thread gets a higher number than the command before it.
        """
        ...

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
    ) -> Sequence[Record]:
        """In one transaction, save the snapshot, drop the commands up to number `consumed`, and append the events.

        `at` is the time of the events, and `due` is the time at which the timer ends. Both are in seconds since the
        epoch. `queue` lists the messages of the snapshot's queue that were added, changed or removed since the thread's
        last commit. A store may use this list to keep each message as a row, or may keep the whole queue with the
        snapshot. Each event gets a number. The method returns the records of `events`.
        """
        ...

    def announced(self, thread_id: str, seq: int) -> None:
        """Note that every record up to `seq` was announced."""
        ...

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """Return the records with a number above `after`, in order. For an unknown thread, return none."""
        ...

    def unfinished(self) -> Mapping[str, Saved]:
        """Return the threads that have unfinished work or unannounced events."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


@runtime_checkable
class PagingStore(Protocol):
    """A store that can also return a part of a thread's history. A long history is then replayed in pages."""

    def history_page(self, thread_id: str, *, after: int, limit: int, newest: bool = False) -> Sequence[Record]:
        """Return at most `limit` records with a number above `after`, in order. `limit` is at least 1.

        These are the first of such records, or the last if `newest` is True. For an unknown thread, return none.
        """
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that also keeps the keys by which an application finds its threads. Each key belongs to one thread."""

    def claim_key(self, key: str, thread_id: str) -> str:
        """Give the key to the thread, unless another thread has it. Return the thread that has the key now."""
        ...

    def find(self, key: str) -> str | None:
        """Return the id of the thread that has the key, or None."""
        ...


@runtime_checkable
class CountingStore(Protocol):
    """A store that also adds up the tokens of its threads."""

    def usage(self) -> Usage:
        """Return the sum of `Snapshot.usage` over all threads."""
        ...


@runtime_checkable
class ListingStore(Protocol):
    """A store that lists all its threads, without data that a list does not need."""

    def threads(self) -> Sequence[ThreadRow]:
        """Return all threads, in the order of their ids. A thread that cannot be read is left out, and logged."""
        ...


@runtime_checkable
class MarkedStore(Protocol):
    """A store that can say what has changed since a moment. A page that shows the threads live asks often."""

    def mark(self) -> Hashable:
        """Return a value that is another one after each change. The time does not depend on the number of threads."""
        ...

    def thread_marks(self) -> Mapping[str, Hashable]:
        """Return a value for each thread. It is another one after each new record, and each change of the inbox."""
        ...


@runtime_checkable
class PrunableStore(Protocol):
    """A store that can forget old history."""

    def prune(self, older_than: float | timedelta) -> int:
        """Forget records that are at least this old, in threads that rest. Return how many records are forgotten.

        `older_than` is a number of seconds, or a `timedelta`. A thread rests if its snapshot owes nothing
        (`Snapshot.owes_nothing`), and it has no waiting command and no unannounced record. Its snapshot, its keys and
        its usage stay, and its next record continues the numbers. The remaining records of a thread have no gaps: a
        record stays if an earlier record stays. Raises `ValueError` if `older_than` is negative or not a finite number.
        """
        ...


@runtime_checkable
class SharedStore(Protocol):
    """The store of a driver whose thread has handles in several processes. Commands come from all of them.

    Its `commit` takes one more keyword, `lease`, which is the lease of the driver. It raises `StoreTaken` if the thread
    is not owned under this lease, even if this process owns the thread under another one.

    The driver's number of a command may be higher than that of a command that it has not read yet. So it reads all
    commands from the store, also its own.
    """

    def commands_after(self, thread_id: str, number: int) -> Sequence[tuple[int, Command]]:
        """Return the waiting commands of a thread with a number above `number`, in order."""
        ...

    def relay(self, delta: AssistantMessageDelta) -> None:
        """Tell the other processes about a piece of a message. Does not block."""
        ...

    def is_followed(self, thread_id: str, seq: int | None) -> bool:
        """Return whether a handle in this process announces the record with this number by itself.

        `seq` is None for what is no record, such as a piece.
        """
        ...


def oldest_kept(older_than: float | timedelta, now: float) -> float:
    """Return the time up to which `PrunableStore.prune` forgets records, in seconds since the epoch."""
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"older_than must be a timedelta or a number of seconds from 0 up, not {older_than!r}")
    return now - seconds
