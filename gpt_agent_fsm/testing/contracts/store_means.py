"""Helpers for the tests of stores. They make a store, and shorten the calls to the store's methods."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from gpt_agent_fsm.events import Event, RunStarted
from gpt_agent_fsm.machine.effects import GetLatestRun
from gpt_agent_fsm.machine.queue import EMPTY, Queue, QueueChange
from gpt_agent_fsm.machine.snapshot import Pending, Snapshot
from gpt_agent_fsm.ports import Record, Saved, Store, offers

__all__ = ["StoreTests", "at_once", "idle", "numbers_of", "some_events", "tried", "whole_change"]

T = TypeVar("T")
_PATIENCE = 60.0


def idle(thread_id: str = "thread_1") -> Snapshot:
    """Return the snapshot of an idle thread."""
    return Snapshot(thread_id=thread_id, assistant_id="asst_1")


def some_events(*numbers: int, thread_id: str = "thread_1") -> list[Event]:
    """Return an event for each number. The event's run id contains the number."""
    return [RunStarted(id=f"run_{number}", thread_id=thread_id, assistant_id="asst_1") for number in numbers]


def tried(tries: int, thread_id: str = "thread_1") -> Snapshot:
    """Return a snapshot whose request has this number of failed attempts."""
    return attrs.evolve(idle(thread_id), pending=Pending(request=GetLatestRun(), tries=tries))


def whole_change(before: Queue, after: Queue) -> QueueChange:
    """Return the change that turns the queue `before` into the queue `after`. The two may be unrelated."""
    numbers, numbers_before = (range(queue.first, queue.first + len(queue)) for queue in (after, before))
    removed = tuple(number for number in numbers_before if number not in numbers)
    return QueueChange(removed=removed, written=tuple(zip(numbers, after, strict=True)))


def numbers_of(records: Sequence[Record]) -> list[int]:
    """Return the numbers of records."""
    return [record.seq for record in records]


class StoreTests:
    """The base class of tests of a store. Each test uses one store."""

    def make_store(self) -> Store:
        """Return a new, empty store. The contract closes it."""
        raise NotImplementedError

    def reopen(self, store: Store) -> Store | None:
        """Close the store and return a new store with the same data. Return None if the store is not durable."""
        del store
        return None

    # --- helpers -----------------------------------------------------------------------------------------------

    _store: Store | None = None

    @property
    def store(self) -> Store:
        """The store of this test. It is made at its first use, so the fixtures of the subclass run before that."""
        if self._store is None:
            self._store = self.make_store()
        return self._store

    def make_ready(self) -> None:
        """Make the store now, before several OS threads use it."""
        assert offers(self.store, Store), "make_store did not return a Store"

    def teardown_method(self) -> None:
        if self._store is not None:
            self._store.close()

    def saved(self, thread_id: str = "thread_1") -> Saved:
        """Return the saved data of a thread that must exist."""
        saved = self.store.load(thread_id)
        assert saved is not None, f"{thread_id!r} is lost"
        return saved

    def commit(self, snapshot: Snapshot, *events: Event, consumed: int = 0, at: float = 1.0) -> Sequence[Record]:
        """Commit a snapshot and events with default arguments, and with the change to the queue."""
        saved = self.store.load(snapshot.thread_id) if snapshot.queue else None
        before = EMPTY if saved is None else saved.snapshot.queue
        change = whole_change(before, snapshot.queue)
        return self.store.commit(snapshot, consumed=consumed, events=events, at=at, due=None, queue=change)

    def open_again(self) -> None:
        """Reopen the store, or skip the test if the store is not durable."""
        reopened = self.reopen(self.store)
        if reopened is None:
            raise unittest.SkipTest("this store is not durable")
        self._store = reopened

    def at_once(self, *actions: Callable[[], T]) -> list[T]:
        """Call all actions at the same time, each on an OS thread of its own. Return their results in order."""
        self.make_ready()
        return at_once(*actions)


def at_once(*actions: Callable[[], T]) -> list[T]:
    """Call all actions at the same time, each on an OS thread of its own. Return their results in order."""
    barrier = threading.Barrier(len(actions))
    results: dict[int, T] = {}
    errors: list[Exception] = []

    def work(index: int, action: Callable[[], T]) -> None:
        try:
            barrier.wait(_PATIENCE)
            results[index] = action()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    workers = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(actions)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(_PATIENCE)
    if errors:
        raise errors[0]
    assert len(results) == len(actions), "a call did not return"
    return [results[index] for index in range(len(actions))]
