"""A store that simulates crashes of its process during calls."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gpt_agent_fsm.errors import StoreTaken
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved, Store

__all__ = ["Crash", "CrashingStore", "StoreHandle"]

T = TypeVar("T")


class Crash(BaseException):
    """Raised to simulate that the process is killed at this point. No code in the library may catch this exception."""

    ends_the_process = True


class CrashingStore:
    """A store that passes calls to `store`. Sometimes it raises `Crash`, before a call takes effect or right after it.

    Args:
        likely: the probability of a crash for each call that changes something.
    """

    def __init__(self, store: Store, rng: random.Random, likely: float) -> None:
        self._store = store
        self._rng = rng
        self._likely = likely
        self.faults_off = False
        """True if the process must no longer crash."""
        self.ends_with_process: bool = False
        """True if the store says that its data end with the process, although they do not."""

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

    @property
    def commits_announced(self) -> bool:
        """See `Store`."""
        return getattr(self._store, "commits_announced", False)

    def commit(self, snapshot: Snapshot, **fields: Any) -> Sequence[Record]:  # noqa: ANN401 - as the protocol has them
        """See `Store.commit`."""
        return self._change(lambda: self._store.commit(snapshot, **fields))

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
    """The store object of one simulated process. Several processes use the same store, one after the other.

    A runtime refuses a store object that another runtime uses, even if the other runtime belongs to a killed process.
    So each process gets its own handle. The newest handle owns the store, and older handles can no longer write.

    Args:
        on_sent: a function that is called after each commit that marks a request as sent, if the request changes the
            server.
    """

    def __init__(self, store: Store, on_sent: Callable[[], object] = lambda: None) -> None:
        self._store = store
        self._on_sent = on_sent
        self._number = _takeovers[store] = _takeovers.get(store, 0) + 1

    def is_owned(self) -> bool:
        """Return whether this is the newest handle of the store."""
        return _takeovers[self._store] == self._number

    def disown(self) -> None:
        """Make this handle lose the store, as if another process had taken the store over."""
        _takeovers[self._store] += 1

    def _check(self) -> None:
        if not self.is_owned():
            raise StoreTaken("Another process uses the store now.")

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`."""
        self._check()
        return self._store.accept(thread_id, command)

    def commit(self, snapshot: Snapshot, **fields: Any) -> Sequence[Record]:  # noqa: ANN401 - as the protocol has them
        """See `Store.commit`."""
        self._check()
        records = self._store.commit(snapshot, **fields)
        pending = snapshot.pending
        if pending is not None and pending.sent and pending.request.changes_server:
            self._on_sent()
        return records

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`."""
        self._check()
        self._store.announced(thread_id, seq)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        return getattr(self._store, name)


_takeovers: weakref.WeakKeyDictionary[Store, int] = weakref.WeakKeyDictionary()
"""For each store, how many times it was taken over: by a new handle, or by `disown`."""
