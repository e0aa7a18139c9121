"""The threads of one process of a cluster: the handles that user code has, and the drivers, if the process drives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from gpt_agent_fsm.cluster import upgrades
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.driving import Driving
from gpt_agent_fsm.cluster.follower import FollowedStore, Follower
from gpt_agent_fsm.cluster.tables import VERSIONS, run
from gpt_agent_fsm.cluster.writing import Accepting
from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.handles import HandleParts
from gpt_agent_fsm.engine.protocols import Backend, Scheduler
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.webhooks import Notice
from gpt_agent_fsm.errors import RuntimeClosed, StoreError, StoreTaken
from gpt_agent_fsm.events import AssistantMessageDelta
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["ClusterHandles", "Followed"]


LOOK = 1.0
"""Seconds between two searches for changes of which no news has come."""


class Followed:
    """The threads that have a handle in this operating system process, and the record after which the handle begins.

    The owner's signals are silent about these records, so that a process with a handle and a driver of one thread hears
    each event once.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler may close the runtime at any line of the main OS thread.
        self._lock = threading.RLock()
        self._begins: dict[str, dict[Follower, int]] = {}

    def begin(self, follower: Follower) -> None:
        """Let a new handle read its thread, and note with which record it begins.

        In this time, no owner in this process announces a record, because both would announce it.

        A handle that was let go in this time is not followed.
        """
        with self._lock:
            follower.begin()
            if follower.is_let_go:
                return
            self._begins.setdefault(follower.thread_id, {})[follower] = follower.heard_seq

    def remove(self, follower: Follower) -> None:
        """Forget a handle that was let go."""
        with self._lock:
            follower.is_let_go = True
            begins = self._begins.get(follower.thread_id, {})
            begins.pop(follower, None)
            if not begins:
                self._begins.pop(follower.thread_id, None)

    def has(self, thread_id: str, seq: int | None) -> bool:
        """Return whether a handle announces the record with this number; None stands for what is no record."""
        with self._lock:
            begins = self._begins.get(thread_id, {})
            return any(seq is None or seq > begin for begin in begins.values())

    def relay(self, delta: AssistantMessageDelta) -> None:
        """Pass a piece of a message to the handles of its thread."""
        with self._lock:
            found = list(self._begins.get(delta.thread_id, ()))
        for follower in found:
            follower.add_piece(delta)

    def tell(self, thread_id: str) -> None:
        """Let the handles of a thread read its changes."""
        with self._lock:
            found = list(self._begins.get(thread_id, ()))
        for follower in found:
            follower.note_change()


class ClusterHandles:
    """The threads of one runtime on a cluster. Has the methods of a roster that the runtime and its agents call."""

    def __init__(
        self,
        parts: HandleParts,
        store: FollowedStore,
        database: ClusterDatabase,
        accepting: Accepting,
        followed: Followed,
        driving: Driving | None,
        tell_webhook: Callable[[Notice], None],
        close: Callable[[], None],
    ) -> None:
        self.origin: Origin = Origin("runtime")
        self.backend: Backend = parts.backend
        self.store: FollowedStore = store
        self.scheduler: Scheduler = parts.scheduler
        self.driving: Driving | None = driving
        self.trace: Trace = Trace(parts.scheduler.clock) if driving is None else driving.roster.trace
        self._parts = parts
        self._database = database
        self._accepting = accepting
        self._followed = followed
        self._tell_webhook = tell_webhook
        self._close = close
        self._lock = threading.RLock()
        self._closed = self._released = False
        self._followers: dict[str, Follower] = {}
        self._leaving: set[Follower] = set()
        """The followers that were let go, and whose last tick has not ended yet."""
        self._versions: dict[str, tuple[int, ...]] = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="gpt-agent-fsm-watch", daemon=True)

    def start(self) -> None:
        """Search for changes regularly, and drive threads if this process does."""
        self._watcher.start()
        if self.driving is not None:
            self.driving.start()

    # --- handles ----------------------------------------------------------------------------------------------

    def get(self, thread_id: str) -> Follower | None:
        """Return the follower of a thread, or None."""
        return self._followers.get(thread_id)

    @property
    def drivers(self) -> tuple[Follower, ...]:
        """The followers of the threads that have a handle here."""
        with self._lock:
            return tuple(self._followers.values())

    @property
    def driven(self) -> tuple[Driver, ...]:
        """The drivers in this process."""
        return () if self.driving is None else self.driving.roster.drivers

    def check_open(self) -> None:
        """See `Roster.check_open`."""
        self.origin.check()
        if self._closed:
            raise RuntimeClosed("This runtime was closed; make a new one.")

    def connect(
        self, start: Snapshot, settings: Settings, connection: Connection, known: inputs.RunsListed | None = None
    ) -> Follower | None:
        """Make a handle of a thread. Return None if another call has made one first. See `Roster.connect`."""
        del known  # the owner looks by itself
        self._accepting.introduce(start)

        def begin(follower: Follower) -> None:
            follower.send(connection.command(look=True))
            connection.join(follower)

        return self._add(start, settings, begin)

    def follow(self, thread_id: str) -> Follower | None:
        """See `Roster.follow`. Blocks for a few queries if the handle is new."""
        self.check_open()
        if thread_id in self._followers:
            return self._followers.get(thread_id)
        saved = self.store.load(thread_id)
        if saved is None:
            return None
        follower = self._add(saved.snapshot, self._parts.settings, lambda _: None)
        return follower or self._followers.get(thread_id)

    def _add(self, start: Snapshot, settings: Settings, begin: Callable[[Follower], None]) -> Follower | None:
        """Make a handle, which begins with `begin`. Return None if another call has made one first."""
        clock = self.scheduler.clock
        follower = Follower(start, settings, self.store, self._accepting, clock, self.trace, self._parts.answers)
        task = _FollowerTask(follower, self._forget)
        follower.wake = lambda: self.scheduler.wake(task)
        follower.announcer.sender = self._parts.make_agent(follower)
        with self._lock:
            self.check_open()
            if start.thread_id in self._followers:
                return None
            self._followers[start.thread_id] = follower
        try:
            self._followed.begin(follower)
            begin(follower)
        except BaseException:
            self.remove(follower, "not_connected")
            raise
        follower.wake()
        return follower

    def remove(self, thread: Thread, reason: str, taken: StoreTaken | None = None) -> None:
        """Let a handle go. The thread continues. A driver of this process is let go, and another one follows."""
        with self._lock:
            follower = self._followers.get(thread.thread_id)
            if follower is thread:
                del self._followers[thread.thread_id]
                self._leaving.add(follower)
        if follower is thread:
            self._followed.remove(follower)
            follower.stop(reason, taken)
        elif self.driving is not None and (driver := self.driving.roster.get(thread.thread_id)) is thread:
            self.driving.roster.remove(driver, reason)

    def _forget(self, follower: Follower) -> None:
        """Forget a follower after its last tick."""
        if self._followers.get(follower.thread_id) is follower:
            self.remove(follower, str(follower.stop_reason))
        with self._lock:
            self._leaving.discard(follower)
        self.release_if_last()

    def wake_by_webhook(self, notice: Notice) -> bool:
        """Wake the driver of the thread that a webhook is about, here or in another process.

        Return False if the webhook can wake nobody.
        """
        self.check_open()
        if self.driving is not None and self.driving.roster.wake_by_webhook(notice):
            return True
        if notice.response_id is not None:
            self._tell_webhook(notice)
        return notice.response_id is not None

    # --- news (see `Hearer`) ----------------------------------------------------------------------------------

    def thread_changed(self, thread_id: str) -> None:
        """See `Hearer.thread_changed`."""
        if (follower := self._followers.get(thread_id)) is not None:
            follower.note_change()
        if self.driving is not None:
            self.driving.note_commands(thread_id)

    def piece_came(self, delta: AssistantMessageDelta) -> None:
        """See `Hearer.piece_came`."""
        if (follower := self._followers.get(delta.thread_id)) is not None:
            follower.add_piece(delta)

    def account_changed(self, name: str) -> None:
        """See `Hearer.account_changed`."""
        if self.driving is not None and self.driving.account.name == name:
            with contextlib.suppress(StoreError):  # the next heartbeat looks again
                self.driving.account.look()

    def webhook_came(self, notice: Notice) -> None:
        """See `Hearer.webhook_came`."""
        if self.driving is not None:
            with contextlib.suppress(RuntimeClosed):
                self.driving.roster.wake_by_webhook(notice)

    def news_was_lost(self) -> None:
        """See `Hearer.news_was_lost`."""
        with contextlib.suppress(StoreError):  # the next look finds the change
            self.look()
        if self.driving is not None:
            self.driving.note_all_commands()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK):
            with contextlib.suppress(StoreError):  # the next look finds the change
                self.look()

    def look(self) -> None:
        """Search for changes of which no news has come, with one query for all handles.

        If an upgrade of the tables was finished for which this process is too old, let all handles go.
        """
        followers = {follower.thread_id: follower for follower in self.drivers}
        if not followers:
            self._versions = {}
            return
        with self._database.asking() as connection:
            rows = run(connection, VERSIONS, threads=list(followers)).all()
            too_old = upgrades.reason(connection)
        if too_old:
            for follower in followers.values():
                self.remove(follower, "store_taken", StoreTaken(too_old))
            return
        versions: dict[str, tuple[int, ...]] = {row.thread_id: (row.epoch, row.commits, row.accepted) for row in rows}
        for thread_id, follower in followers.items():
            if thread_id not in versions:
                gone = StoreTaken(f"The cluster no longer knows {thread_id}; a SQLStore has the database.")
                self.remove(follower, "store_taken", gone)
            elif versions[thread_id] != self._versions.get(thread_id):
                follower.note_change()
        self._versions = versions

    # --- the end ----------------------------------------------------------------------------------------------

    def await_tools(self, timeout: float) -> None:
        """See `Roster.await_tools`."""
        if self.driving is not None:
            self.driving.roster.await_tools(timeout)

    def close(self) -> None:
        """Let all handles go, and all threads that this process drives. Idempotent."""
        with self._lock:
            self._closed = True
        self._stopped.set()
        for follower in self.drivers:
            self.remove(follower, "runtime_closed")
        if self.driving is not None:
            self.driving.stop()
        self.release_if_last()

    def release_if_last(self) -> None:
        """Close the backend and the store if this was closed, and no handle and no driver is in its last tick.

        If a handler has called `close`, nobody else calls `release_all`.
        """
        with self._lock:
            last = self._closed and not self._followers and not self._leaving
        if last and (self.driving is None or self.driving.roster.has_ended):
            self.release_all()

    def release_all(self) -> None:
        """Close the backend and the store. Idempotent."""
        with self._lock:
            already, self._released = self._released, True
        if already:
            return
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join()
        if self.driving is not None:
            self.driving.roster.release_all()
            self.driving.close()
        else:
            self.backend.close()
        self._close()


class _FollowerTask:
    """The task that the scheduler ticks for one follower."""

    def __init__(self, follower: Follower, forget: Callable[[Follower], None]) -> None:
        self._follower = follower
        self._forget = forget

    def tick(self) -> float | None:
        """See `Task.tick`."""
        due = self._follower.tick()
        if self._follower.has_ended:
            self._forget(self._follower)
        return due

    def describe(self) -> str:
        """See `Task.describe`."""
        return self._follower.describe()
