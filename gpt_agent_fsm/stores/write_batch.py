"""Collects the writes of one transaction. Operations of many threads get numbers and are merged into few statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm.errors import StoreError

__all__ = [
    "Accept",
    "Announce",
    "ClaimKey",
    "Commit",
    "Counters",
    "Flush",
    "Forget",
    "Operation",
    "WriteBatch",
    "no_such_thread",
]

Row: TypeAlias = dict[str, Any]


@attrs.define(kw_only=True)
class Accept:
    """The operation that adds a command to a thread's inbox. Its result, `number`, is the number of the command."""

    thread_id: str
    command: str
    number: int = 0


@attrs.define(kw_only=True)
class Commit:
    """The operation that saves a snapshot with its events and its queue.

    Its result, `last_seq`, is the last record's number.

    Commits that differ only in time are equal. So the store recognises a repeated commit.

    Attributes:
        removed: the numbers of the messages that left the queue.
        written: the new and changed messages of the queue, with their numbers.
        announced: True if the events count as announced, like all events before them.
    """

    thread_id: str
    snapshot: str
    settled: bool
    consumed: int
    events: list[tuple[str, str]]
    at: float = attrs.field(eq=False)
    due: float | None = attrs.field(eq=False)
    removed: Sequence[int] = ()
    written: Sequence[tuple[int, str]] = ()
    announced: bool = False
    last_seq: int = attrs.field(default=0, eq=False)


@attrs.define(kw_only=True)
class Announce:
    """The operation that saves the number of a thread's last announced record."""

    thread_id: str
    seq: int


@attrs.define(kw_only=True)
class ClaimKey:
    """The operation that gives a key (the application's own name) to a thread, unless another thread has the key."""

    thread_id: str
    key: str


@attrs.define
class Flush:
    """The operation that saves all unsaved marks. A mark is the number of the last announced record of a thread."""


@attrs.define(kw_only=True)
class Forget:
    """The operation that deletes the records of some threads. Its result, `forgotten`, is the number of these records.

    Attributes:
        first_kept: for each thread, the number of its first record that is kept.
    """

    first_kept: Mapping[str, int]
    forgotten: int = 0


Operation: TypeAlias = Accept | Commit | Announce | ClaimKey | Forget | Flush


@attrs.define(kw_only=True)
class Counters:
    """The counters of a thread. They give the numbers of the thread's next commands and records."""

    settled: bool = True
    accepted: int = 0
    last_seq: int = 0
    announced: int = 0

    def copy(self) -> Counters:
        """Return equal counters. `attrs.evolve` would take three times as long."""
        return Counters(settled=self.settled, accepted=self.accepted, last_seq=self.last_seq, announced=self.announced)

    @property
    def unfinished(self) -> bool:
        """True while the thread has something to do or to announce. Commands that wait in the inbox do not count."""
        return not self.settled or self.announced < self.last_seq


def no_such_thread(thread_id: str) -> StoreError:
    """Return the error for a command to a thread that was never committed."""
    return StoreError(f"There is no thread {thread_id!r} in this store: commit a snapshot of it first.")


class WriteBatch:
    """Takes operations one by one, and turns them into rows for the database.

    Args:
        known: the counters of the threads before the batch.
        landed: for each thread, its last commit, if the commit reached the database although its caller got an error.

    Attributes:
        counters: the counters of the threads of this batch, after the batch.
        commands, dropped, threads, events, marks, unqueued, queued, keys: the rows for the SQL statements of the
            transaction.
    """

    def __init__(self, known: Mapping[str, Counters], landed: Mapping[str, Commit]) -> None:
        self._known = known
        self._landed = landed
        self.counters: dict[str, Counters] = {}
        self.commands: list[Row] = []
        self.dropped: list[Row] = []
        self.events: list[Row] = []
        self.keys: list[Row] = []
        self._queue: dict[tuple[str, int], str | None] = {}
        """The new and changed messages, by thread and number. A removed message is None."""
        self._saved: dict[str, Commit] = {}
        self._marked: set[str] = set()

    def _counters_of(self, thread_id: str) -> Counters | None:
        if thread_id not in self.counters and thread_id in self._known:
            self.counters[thread_id] = self._known[thread_id].copy()
        return self.counters.get(thread_id)

    def add(self, operation: Operation) -> None:
        """Add one operation. If it is invalid, raise `StoreError` and leave the batch unchanged."""
        if isinstance(operation, Accept):
            self._accept(operation)
        elif isinstance(operation, Commit):
            self._commit(operation)
        elif isinstance(operation, Announce):
            self.mark(operation.thread_id, operation.seq)
        elif isinstance(operation, ClaimKey):
            self.keys.append({"key": operation.key, "thread_id": operation.thread_id})

    def _accept(self, operation: Accept) -> None:
        counters = self._counters_of(operation.thread_id)
        if counters is None:
            raise no_such_thread(operation.thread_id)
        counters.accepted = operation.number = counters.accepted + 1
        self.commands.append(
            {"thread_id": operation.thread_id, "number": operation.number, "command": operation.command}
        )

    def _commit(self, operation: Commit) -> None:
        thread_id = operation.thread_id
        landed = self._landed.get(thread_id)
        if operation == landed and thread_id not in self._saved:
            operation.at, operation.last_seq = landed.at, landed.last_seq
            return
        counters = self._counters_of(thread_id)
        if counters is None:
            counters = self.counters[thread_id] = Counters()
        consumed = min(operation.consumed, counters.accepted)
        if consumed > 0:
            self.dropped.append({"of_thread": thread_id, "consumed": consumed})
        for kind, body in operation.events:
            counters.last_seq += 1
            self.events.append(
                {"thread_id": thread_id, "seq": counters.last_seq, "at": operation.at, "kind": kind, "body": body}
            )
        for number in operation.removed:
            self._queue[thread_id, number] = None
        for number, message in operation.written:
            self._queue[thread_id, number] = message
        if operation.announced:
            counters.announced = counters.last_seq
        counters.settled = operation.settled
        operation.last_seq = counters.last_seq
        self._saved[thread_id] = operation

    def mark(self, thread_id: str, seq: int) -> None:
        """Add the number of a thread's last announced record to the batch. Ignore unknown threads and records."""
        counters = self._counters_of(thread_id)
        if counters is not None and counters.announced < min(seq, counters.last_seq):
            counters.announced = min(seq, counters.last_seq)
            self._marked.add(thread_id)

    @property
    def threads(self) -> list[Row]:
        """The rows of the threads with a commit. If a thread has several commits, only the last one is used."""
        rows = []
        for thread_id, commit in self._saved.items():
            counters = self.counters[thread_id]
            numbers = {"accepted": counters.accepted, "last_seq": counters.last_seq, "announced": counters.announced}
            flags = {"settled": counters.settled, "unfinished": counters.unfinished}
            rows.append({"thread_id": thread_id, "snapshot": commit.snapshot, "due": commit.due, **numbers, **flags})
        return rows

    @property
    def unqueued(self) -> list[Row]:
        """The rows of the messages that leave their queue."""
        return [{"of_thread": thread, "at": number} for (thread, number), text in self._queue.items() if text is None]

    @property
    def queued(self) -> list[Row]:
        """The rows of the new and changed messages in their queue."""
        return [
            {"thread_id": thread, "number": number, "message": text}
            for (thread, number), text in self._queue.items()
            if text is not None
        ]

    @property
    def marks(self) -> list[Row]:
        """The rows of the threads that have new announcements, but no commit."""
        return [
            {"of_thread": thread_id, "mark": counters.announced, "is_unfinished": counters.unfinished}
            for thread_id, counters in self._each(self._marked - self._saved.keys())
        ]

    def _each(self, thread_ids: Iterable[str]) -> list[tuple[str, Counters]]:
        return [(thread_id, self.counters[thread_id]) for thread_id in thread_ids]
