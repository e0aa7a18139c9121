"""A store whose process may crash during a call."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved, Store
from gpt_agent_fsm.testing.network import Crash

__all__ = ["CrashingStore", "StoreHandle"]

T = TypeVar("T")


class CrashingStore:
    """Forwards to `store`. Sometimes the process crashes before a call takes effect, or right after it.

    Args:
        likely: the probability of a crash for each call that changes something.
    """

    def __init__(self, store: Store, rng: random.Random, likely: float) -> None:
        self._store = store
        self._rng = rng
        self._likely = likely
        self.faults_off = False
        """True if the process must no longer crash."""

    def _change(self, call: Callable[[], T]) -> T:
        crashes = not self.faults_off and self._rng.random() < self._likely
        if crashes and self._rng.random() < 0.5:
            raise Crash
        answer = call()
        if crashes:
            raise Crash
        return answer

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        return self._store.load(thread_id)

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`."""
        return self._change(lambda: self._store.accept(thread_id, command))

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
        """See `Store.commit`."""
        return self._change(
            lambda: self._store.commit(snapshot, consumed=consumed, events=events, at=at, due=due, queue=queue)
        )

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`."""
        self._change(lambda: self._store.announced(thread_id, seq))

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        return self._store.history(thread_id, after)

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`."""
        return self._store.unfinished()

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()


class StoreHandle:
    """The store object of one process, over a store that several processes use one after the other.

    A runtime refuses a store object that another one uses, even if that one stands for a process that was killed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return getattr(self._store, name)
