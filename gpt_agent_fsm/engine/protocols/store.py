"""The interfaces of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot

__all__ = ["CountingStore", "KeyedStore", "Record", "Saved", "Store"]


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


@runtime_checkable
class Store(Protocol):
    """Keeps the data of threads. Safe to call from any OS thread. When a call returns, its data is saved.

    If a call cannot save the data, it raises an error and changes nothing. For a full disk or a locked file the error
    is a `StoreError`. If the connection to the store breaks, it may be unknown whether the call changed something. For
    a commit, the engine repeats the call with equal arguments, apart from the times, and the store recognises the
    repetition. For a command, the store removes the command if it was saved after all.
    """

    def load(self, thread_id: str) -> Saved | None:
        """Return the data of a thread, or None."""
        ...

    def accept(self, thread_id: str, command: Command) -> int:
        """Save a command for a thread that has been committed before. Return its number, which grows per thread."""
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
        epoch. `queue` has the messages that were added to the snapshot's queue or removed from it since the thread's
        last commit. A store may use it to keep each message as a row, or may keep the whole queue with the snapshot.
        Each event gets a number. The method returns the records of `events`.
        """
        ...

    def announced(self, thread_id: str, seq: int) -> None:
        """Note that every record up to `seq` was announced."""
        ...

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """Return the records with a number above `after`, in order. For an unknown thread there are none."""
        ...

    def unfinished(self) -> Mapping[str, Saved]:
        """Return the threads that have unfinished work or unannounced events."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that also keeps the keys by which an application finds its threads. Each key belongs to one thread."""

    def claim_key(self, key: str, thread_id: str) -> str:
        """Give the key to the thread, unless another thread has it. Return the thread that has the key now."""
        ...

    def find(self, key: str) -> str | None:
        """Return the thread that has the key, or None."""
        ...


@runtime_checkable
class CountingStore(Protocol):
    """A store that also adds up the tokens of its threads."""

    def usage(self) -> Usage:
        """Return the sum of `Snapshot.usage` over all threads."""
        ...
