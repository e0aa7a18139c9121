"""Keeps the snapshot of one thread, and saves in the store each change that a restart needs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

from gpt_agent_fsm import events
from gpt_agent_fsm.engine.context import driven_elsewhere
from gpt_agent_fsm.engine.deadlines import Deadlines
from gpt_agent_fsm.engine.protocols import Clock, Lease, Record, Saved, Store
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.machine.snapshot import LiveRun, Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["Ledger"]


@functools.lru_cache(maxsize=16)
def _takes_announced(commit: Callable[..., object]) -> bool:
    parameters = inspect.signature(commit).parameters.values()
    return any(each.name == "announced" or each.kind is each.VAR_KEYWORD for each in parameters)


def commits_announced(store: Store) -> bool:
    """Return whether `commit` of the store takes the keyword `announced`. See `Store`.

    A subclass or an object that passes calls on may have the attribute, but a method of its own without the keyword.
    """
    if not getattr(store, "commits_announced", False):
        return False
    return _takes_announced(getattr(store.commit, "__func__", store.commit))


class Ledger:
    """Keeps the snapshot, saves its changes, and updates the deadlines and webhooks after each change.

    Only the start and the ticks of a driver change its ledger.

    Attributes:
        snapshot: the current snapshot. The snapshot in the store may lack progress that a restart does not need.
        deadlines: the deadlines of the thread.
        lease: the right to drive the thread; None before the driver begins, and after its last tick has ended.
    """

    __slots__ = ("_clock", "_due", "_is_shared", "_store", "_trace", "_webhooks", "deadlines", "lease", "snapshot")

    def __init__(
        self,
        snapshot: Snapshot,
        store: Store,
        clock: Clock,
        webhooks: Webhooks,
        trace: Trace,
        *,
        is_shared: bool = False,
    ) -> None:
        self.snapshot: Snapshot = snapshot
        self.lease: Lease | None = None
        self._is_shared = is_shared
        self.deadlines: Deadlines = Deadlines(clock)
        self._store = store
        self._clock = clock
        self._webhooks = webhooks
        self._trace = trace
        self._due: float | None = None
        """The due time of the last commit."""

    def take_over(self, saved: Saved, settings: Settings) -> None:
        """Start with the data that the store has about the thread."""
        self.deadlines.begin(saved.snapshot, settings)
        self.snapshot = saved.snapshot
        self._let_webhooks_find(None, saved.snapshot.run)

    def commit(
        self,
        snapshot: Snapshot,
        consumed: int,
        happened: Sequence[events.Event],
        due: float | None,
        settings: Settings,
        *,
        unheard: bool = False,
    ) -> Sequence[Record]:
        """Make `snapshot` the current snapshot, and save it if a restart needs it. Return the records of the events.

        `consumed` is the number of the last command in the snapshot, and `happened` are the events; see `Store.commit`.
        `due` is the time at which the timer ends, in monotonic seconds. `unheard` is True if no handler follows the
        events.
        """
        # The clock is read before anything is saved. If it raised an error afterwards, the same changes would be saved
        # again.
        at, now = self._clock.time(), self._clock.monotonic()
        records: Sequence[Record] = ()
        request = snapshot.request
        postponed = request is not None and request.changes_server and due != self._due
        if consumed or happened or postponed or not snapshot.differs_only_by_a_poll(self.snapshot):
            commit: Callable[..., Sequence[Record]] = self._store.commit
            if unheard and happened and commits_announced(self._store):
                commit = functools.partial(commit, announced=True)
            if self._is_shared:
                if self.lease is None:
                    raise driven_elsewhere(snapshot.thread_id)
                # The process may have a newer lease of the thread, for the next driver.
                commit = functools.partial(commit, lease=self.lease)
            records = commit(
                snapshot,
                consumed=consumed,
                events=happened,
                at=at,
                due=None if due is None else at + due - now,
                queue=snapshot.queue.change_since(self.snapshot.queue),
            )
            self._due = due
            if self._trace.hooks:
                self._trace.ended("commit", now, thread_id=snapshot.thread_id, records=len(records))
        self.deadlines.follow(self.snapshot, snapshot, settings, now)
        self._let_webhooks_find(self.snapshot.run, snapshot.run)
        self.snapshot = snapshot
        return records

    @property
    def is_durable(self) -> bool:
        """True if the store keeps the thread's data when the process ends."""
        return not getattr(self._store, "ends_with_process", False)

    @property
    def outlook(self) -> str:
        """A text for the log that says what happens to unfinished work in this kind of store."""
        if not self.is_durable:
            return "its data ends with the process, because it is in memory only: call agent.wait() before you close"
        return "the next runtime on this store resumes it, or this one when the thread is connected again"

    def close(self) -> None:
        """Let no more webhooks find the thread."""
        self._let_webhooks_find(self.snapshot.run, None)

    def _let_webhooks_find(self, before: LiveRun | None, after: LiveRun | None) -> None:
        """Let the webhooks of the run `after` find the thread. Those of the run `before` no longer find it."""
        if after is not before:
            names = (None if run is None else run.handle or run.id for run in (before, after))
            self._webhooks.follow(self, self.snapshot.thread_id, *names)
