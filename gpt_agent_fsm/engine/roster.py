"""The drivers of the threads in this process: which driver may begin, which driver is ending, and which is next.

The roster makes decisions while it holds its lock, and carries them out after it has released the lock. A thread has at
most one live driver. The thread's former driver may still be in its last tick, and the live driver begins only after
that tick. A driver does not know the roster: its tick returns an outcome, and the roster acts on the outcome.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.context import shared_context
from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.leavers import Leavers
from gpt_agent_fsm.engine.ownership import SoleOwner
from gpt_agent_fsm.engine.protocols import (
    AgentHandle,
    Backend,
    Lease,
    Ownership,
    Saved,
    Scheduler,
    Store,
)
from gpt_agent_fsm.engine.shift import Shift
from gpt_agent_fsm.engine.store_use import StoreUse
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.tool_jobs import ToolJobs
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.waiters import Changed
from gpt_agent_fsm.engine.webhooks import Notice
from gpt_agent_fsm.errors import RuntimeClosed, StoreError, StoreTaken
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.tools import ToolBox

__all__ = ["Roster"]

log: Log = get_logger(__name__)


class Roster:
    """The drivers of one runtime. Safe to use from any OS thread.

    Args:
        make_agent: a function that returns the agent that is the sender of a driver's events.
        make_ownership: a function that returns the `Ownership`, which decides which process drives a thread. The
            `Ownership` hands threads over by calling `own`, and wakes the drivers of this roster by calling
            `tick_soon`. By default, this roster drives all threads.
        tools: the functions that answer tool calls.
        gate: the gate of the requests; by default, this roster has one of its own.
        rests_for: the seconds after which a driver at rest is let go; None if only the idle timeout ends it.

    Attributes:
        jobs: the jobs that run the functions of tools.
        origin: the process that made the runtime.
        scheduler: the scheduler that ticks the drivers.
        backend: the API.
        trace: the trace hooks of the runtime.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        scheduler: Scheduler,
        settings: Settings,
        rng: random.Random,
        make_agent: Callable[[Driver], AgentHandle],
        make_ownership: Callable[[Roster], Ownership] | None = None,
        tools: ToolBox = ToolBox(),  # noqa: B008 - it never changes
        rests_for: float | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.origin: Origin = Origin("runtime")
        self.trace: Trace = Trace(scheduler.clock)
        # A bound method takes 64 bytes, so all drivers share one.
        self._shift_of: Callable[[Driver], Shift] = partial(Shift, tick=self._tick, trace=self.trace)
        self.scheduler: Scheduler = scheduler
        self.backend: Backend = backend
        self.store: Store = store
        self._settings = settings
        self._make_agent = make_agent
        self._owns_all = make_ownership is None
        self._rests_for = rests_for
        is_owned = getattr(store, "is_owned", None)
        self._ownership = SoleOwner(self.tick_soon, is_owned) if make_ownership is None else make_ownership(self)
        self._context = shared_context(
            backend, store, scheduler, settings, rng, self._ownership, tools, self.trace, gate
        )
        self.jobs: ToolJobs = self._context.tooling.jobs
        # Reentrant: an operating system signal may interrupt a method that holds the lock, and the signal's handler may
        # close the runtime.
        self._lock = threading.RLock()
        self._closed = False
        self._use = StoreUse(store)
        self._shifts: dict[str, Shift] = {}
        self._announced: set[str] = set()
        """The threads that have no driver now, but whose open calls a driver of this roster has announced."""
        self._leaving = Leavers(is_shared=self._context.shared is not None)
        """If the thread of such a driver already has a next driver, the next driver is in `_shifts`, and waits."""

    # --- who drives -----------------------------------------------------------------------------------

    def get(self, thread_id: str) -> Driver | None:
        """Return the driver of a thread, or None if there is none."""
        shift = self._shifts.get(thread_id)
        return None if shift is None else shift.driver

    def follow(self, thread_id: str) -> Driver | None:
        """Return the thread, and make its agent if another process drives it. Here, each agent exists already."""
        self.check_open()
        return self.get(thread_id)

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """The live drivers."""
        with self._lock:
            return tuple(shift.driver for shift in self._shifts.values())

    @property
    def driven(self) -> tuple[Driver, ...]:
        """See `ThreadRoster.driven`. Here, each thread with an agent is driven."""
        return self.drivers

    def check_open(self) -> None:
        """Raise `RuntimeClosed` after `close`. Raise `UsedAfterFork` in a child of the process that made the roster."""
        self.origin.check()
        if self._closed:
            raise RuntimeClosed("This runtime was closed; make a new one.")

    def connect(
        self, start: Snapshot, settings: Settings, connection: Connection, known: inputs.RunsListed | None = None
    ) -> Driver | None:
        """Make a driver for a thread, and return it. Return None if another call has made one first.

        If the thread's former driver has not ended yet, the new driver begins only after the former driver has ended.
        Raises `StoreTaken` if another process drives the thread.

        Args:
            start: the snapshot to begin with, if the store does not have the thread.
            settings: the settings of the new driver.
            connection: the arguments with which user code connects to the thread.
            known: the server's answer about the thread's newest run, if the caller has just asked for it.
        """
        shift = self._make_shift(start, settings)
        driver = shift.driver
        with driver.lock, driver.door:
            with self._lock:
                self.check_open()
                if driver.thread_id in self._shifts:
                    return None
                self._shifts[driver.thread_id] = shift
                predecessor = self._leaving.get(driver.thread_id)
            with self._withdrawn_if_it_fails(driver):
                if predecessor is None:
                    driver.lease = self._claim(driver.thread_id)
                self._begin_connected(driver, predecessor, connection, known)
            connection.join(driver)
        self.scheduler.wake(shift)
        return driver

    def _begin_connected(
        self,
        driver: Driver,
        predecessor: Shift | None,
        connection: Connection,
        known: inputs.RunsListed | None,
    ) -> None:
        store, command = self._context.store, connection.command(look=True)
        if predecessor is not None:
            driver.follow(predecessor.driver)
            driver.accept(command)
            return
        saved = store.load(driver.thread_id)
        if saved is None:
            store.commit(driver.snapshot, consumed=0, events=(), at=self.scheduler.clock.time(), due=None)
            driver.begin(Saved(snapshot=driver.snapshot), command, *(() if known is None else (known,)))
            return
        driver.begin(saved, command)
        if known is not None and driver.wanted == effects.GetLatestRun():
            driver.answer_wanted(known)

    def resume(self, unfinished: Collection[Saved], began: float) -> None:
        """Drive the threads with unfinished work. Raises `StoreTaken` if another process drives one of them.

        `began`: the value of `time.perf_counter` before the threads were read from the store.
        """
        for saved in unfinished:
            thread_id = saved.snapshot.thread_id
            self.own(thread_id, self._claim(thread_id), saved)
        if unfinished:
            log.info("unfinished threads resumed: %d, in %.2f s", len(unfinished), time.perf_counter() - began)

    def own(self, thread_id: str, lease: Lease, saved: Saved | None = None, *, pause: float = 0.0) -> None:
        """Drive a thread that was handed over. `saved`: the thread's data in the store, if the caller has read them.

        The first tick begins after `pause` seconds.

        In three cases, the lease is released and no driver is made: the store does not know the thread, the thread
        already has a driver here, or the roster was closed. If a former driver is still in its last tick, the new
        driver begins after that tick.
        """
        saved = saved or self._context.store.load(thread_id)
        if saved is None:
            self._ownership.release(lease, more=False)
            return
        shift = self._make_shift(saved.snapshot, self._settings)
        driver = shift.driver
        if pause:
            shift.begins_at = self.scheduler.clock.monotonic() + pause
        with driver.lock, driver.door:
            with self._lock:
                refused = self._closed or thread_id in self._shifts
                if not refused:
                    self._shifts[thread_id] = shift
                    driver.lease = lease
                predecessor = self._leaving.get(thread_id)
            if refused:
                self._ownership.release(lease, more=True)
                return
            if predecessor is None:
                with self._withdrawn_if_it_fails(driver):
                    driver.begin(saved)
        self.scheduler.wake(shift)

    def _make_shift(self, snapshot: Snapshot, settings: Settings) -> Shift:
        driver = Driver(self._context, snapshot, settings)
        driver.takes_over = snapshot.thread_id not in self._announced
        driver.announcer.sender = self._make_agent(driver)
        return self._shift_of(driver)

    def _claim(self, thread_id: str) -> Lease:
        """Claim the right to drive a thread. Raises `StoreTaken` if another process has the right."""
        lease = self._ownership.claim(thread_id)
        if lease is None:
            raise StoreTaken(f"{thread_id} is driven by another process.")
        return lease

    def _release(self, driver: Driver) -> None:
        """Release the right to drive the driver's thread, unless it was released before."""
        lease, driver.lease = driver.lease, None
        if lease is not None:
            self._ownership.release(lease, more=driver.has_work)

    @contextlib.contextmanager
    def _withdrawn_if_it_fails(self, driver: Driver) -> Iterator[None]:
        """Remove the driver if the `with` block raises an error.

        The driver is also stopped, because another caller may already have it and must not see it as alive. If a signal
        handler has closed the roster during the block, the driver is leaving already.
        """
        try:
            yield
        except BaseException:
            with self._lock:
                is_leaving = self.get(driver.thread_id) is not driver
                if not is_leaving:
                    del self._shifts[driver.thread_id]
            if is_leaving:
                self.check_open()  # this says more than the error of a closed store
            else:
                driver.withdraw()
                self._release(driver)
            raise

    # --- ticks ----------------------------------------------------------------------------------------

    def wake_by_webhook(self, notice: Notice) -> bool:
        """Wake the driver of the thread that a webhook is about. Return whether there is such a driver."""
        self.check_open()
        thread_id = self._context.webhooks.take_in(notice)
        if thread_id is None or self.get(thread_id) is None:
            return False
        self._ownership.wake(thread_id)
        return True

    def tick_soon(self, thread_id: str) -> None:
        """Wake the driver of a thread, if there is one here."""
        shift = self._shifts.get(thread_id)
        if shift is not None:
            if self.trace.hooks:
                shift.note_wake()
            self.scheduler.wake(shift)

    def _tick(self, shift: Shift) -> float | None:
        """Tick a driver, act on the outcome, and return when to tick it again."""
        driver = shift.driver
        if not driver.begun and driver.stop_reason is None and not self._may_begin(driver):
            return None
        outcome = driver.tick()
        if outcome.left:
            self._forget(shift)
        elif outcome.lost is not None:
            # If this runtime owned all threads of the store and has lost one of them, it has lost all of them.
            for lost in self.drivers if self._owns_all else (driver,):
                self.remove(lost, "store_taken", outcome.lost)
        elif outcome.idle is not None:
            self._retire(driver, outcome.idle)
        elif self._rests_for is not None:
            return self._let_rest(shift, self._rests_for, outcome.due)
        return outcome.due

    def _let_rest(self, shift: Shift, rests_for: float, due: float | None) -> float | None:
        """Remove a driver that has rested for some seconds. Return when to tick it again."""
        end = shift.end_of_rest(rests_for)
        if end is None or self.scheduler.clock.monotonic() < end:
            return min((each for each in (due, end) if each is not None), default=None)
        self._retire(shift.driver, "rest")
        return due

    def _may_begin(self, driver: Driver) -> bool:
        """Return whether a driver that waited for the former driver may begin.

        If the result is True, the waiting driver now has the lease of its thread.
        """
        with self._lock:
            if self._leaving.get(driver.thread_id) is not None:
                return False
        if driver.lease is None:
            try:
                driver.lease = self._claim(driver.thread_id)
            except StoreTaken as error:
                log.error("%s", error)  # noqa: TRY400 - the sentence says it all
                self.remove(driver, "store_taken", error)
                return False
        return True

    def _retire(self, driver: Driver, reason: str) -> None:
        """Remove an idle driver from the roster, unless a command has just been accepted."""
        with driver.lock:
            if driver.stop_if_quiet(reason):
                self.remove(driver, reason)

    # --- the end --------------------------------------------------------------------------------------

    def remove(self, driver: Thread, reason: str, taken: StoreTaken | None = None) -> None:
        """Remove a driver immediately. A tick in progress may still finish, and a last tick follows.

        `taken`: the error to report if another process drives the thread now; otherwise None.
        """
        found = self.get(driver.thread_id)
        if found is None or found is not driver:
            return
        # Both locks are held, so this method waits while the driver begins on another OS thread.
        with found.lock, self._lock:
            shift = self._shifts.get(found.thread_id)
            if shift is None or shift.driver is not found:
                return
            del self._shifts[found.thread_id]
            self._leaving.add(shift)
            found.stop(reason, taken)
            if taken is None and found.snapshot.state is State.AWAITING_TOOLS:
                self._announced.add(found.thread_id)
            else:
                self._announced.discard(found.thread_id)
        if taken is not None:
            self.jobs.drop(found.thread_id)
        self.scheduler.wake(shift)

    def _forget(self, shift: Shift) -> None:
        """Forget a driver that has ended, and wake the next driver of its thread.

        If the roster was closed and no other driver is ending, close the backend and the store.
        """
        thread_id = shift.driver.thread_id
        # The lease is released before the next driver of the thread claims it.
        self._release(shift.driver)
        with self._lock:
            self._leaving.remove(shift)
            reports = self._leaving.take_reports()
            successor = self._shifts.get(thread_id)
            last = self._closed and not self._leaving
        if successor is not None:
            self.scheduler.wake(successor)
        _warn_of(reports)
        if last:
            self.release_all()

    def await_tools(self, timeout: float) -> None:
        """Start no more functions. Wait at most `timeout` seconds for the results of the functions that run now."""
        self.jobs.is_closing = True
        for thread_id in self.jobs.threads:
            # The woken thread forgets the jobs of its approval rules: even if a rule allows a call, no function starts.
            self._ownership.wake(thread_id)
        changed = Changed()
        if running := len(self.jobs.threads):
            log.info("close: waiting at most %g s for functions of tools in %d threads", timeout, running)
        with self.jobs.waiters.added(changed):
            self.scheduler.wait(lambda: self.jobs.threads.isdisjoint(self._shifts), changed, timeout)

    def close(self) -> None:
        """Remove all drivers and accept no new ones. Idempotent."""
        if lost := self.jobs.close():
            log.warning("close: functions of tools that have not ended, and whose outputs are lost: %d", lost)
        self._context.streams.close()
        with self._lock:
            self._closed = True
            shifts = list(self._shifts.values())
        for shift in shifts:
            self.remove(shift.driver, "runtime_closed")

    @property
    def has_ended(self) -> bool:
        """True after `close`, when the last tick of the last driver has ended."""
        with self._lock:
            return self._closed and not self._shifts and not self._leaving

    def release_all(self) -> None:
        """Close the backend and the store. Idempotent, because both `Runtime.close` and `_forget` call this method."""
        with self._lock:
            already, self._use.has_ended = self._use.has_ended, True
            reports = self._leaving.take_reports(at_end=True)
        _warn_of(reports)
        if already:
            return
        self._context.backend.close()
        try:
            self._context.store.close()
        except StoreError:
            # If this error were raised, it would hide the exception that ended the `with` statement.
            log.exception("the store could not be closed properly; some events may be announced again")


def _warn_of(reports: Iterable[str]) -> None:
    # Not while a lock is held, because a log handler may do anything.
    for report in reports:
        log.warning("%s", report)
