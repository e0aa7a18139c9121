"""Ticks the drivers on OS threads.

One OS thread waits for the due times, and a few workers run the ticks, which may block.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from gpt_agent_fsm.engine.protocols import Clock, Task
from gpt_agent_fsm.engine.waiters import Changed
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.logs import Log, get_logger

__all__ = ["SystemClock", "ThreadedScheduler"]

log: Log = get_logger(__name__)


_LAST_STEPS = 1.0
"""Seconds in which an OS thread without a task can end."""
_RECOVERY = 1.0
"""Seconds until a task whose tick failed is ticked again."""


# CLOCK_BOOTTIME also counts the time during which the computer is suspended. Not every system has this clock.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else None


class SystemClock:
    """The computer's own time.

    Some systems have a clock that continues while the computer is suspended. There, the monotonic time comes from it.
    """

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic() if _MONOTONIC is None else time.clock_gettime(_MONOTONIC)

    def time(self) -> float:
        """See `Clock.time`."""
        return time.time()


class _Phase(Enum):
    QUEUED = "queued"
    TICKING = "ticking"
    TICK_AGAIN = "tick_again"


class ThreadedScheduler:
    """A scheduler with OS threads of its own: one for the timer, and `workers` more for the ticks.

    All these OS threads are daemons, so a script can end without a call of `close`. A task is in at most one tick at a
    time. Ready tasks are ticked in the order in which they became ready. A tick that hangs occupies one worker, but the
    other workers serve the other tasks.

    If the process forks, these OS threads do not exist in the child. In the child, `close` does nothing, and the other
    methods raise `UsedAfterFork`.
    """

    def __init__(self, workers: int, clock: Clock | None = None) -> None:
        self._origin = Origin("scheduler")
        self._clock = clock or SystemClock()
        # Reentrant: an operating system signal may interrupt a method that holds the lock, and the signal's handler may
        # close the runtime.
        self._lock = threading.RLock()
        self._ready_or_closed = threading.Condition(self._lock)
        self._timer_changed = threading.Condition(self._lock)
        self._calm = threading.Condition(self._lock)
        self._phases: dict[Task, _Phase] = {}
        self._ready: deque[Task] = deque()
        self._due: dict[Task, float] = {}
        self._heap: list[tuple[float, int, Task]] = []
        self._counter = itertools.count()
        self._ahead = 0.0
        """How many seconds the clock was ahead of the computer's own time when the clock was last read."""
        self._closed = False
        self._closers = 0
        self._sleepers: list[Changed] = []
        names = ["gpt-agent-fsm-timer", *(f"gpt-agent-fsm-worker-{n}" for n in range(1, workers + 1))]
        targets = [self._keep_time, *([self._work] * workers)]
        self._threads = [
            threading.Thread(target=self._run, args=(target,), name=name, daemon=True)
            for target, name in zip(targets, names, strict=True)
        ]
        self._running = len(self._threads)
        for thread in self._threads:
            thread.start()

    @property
    def clock(self) -> Clock:
        """See `Scheduler.clock`."""
        return self._clock

    def wake(self, task: Task) -> None:
        """See `Scheduler.wake`."""
        self._origin.check()
        with self._lock:
            # After `close`, a new task would never be ticked, and a second `close` would wait for that tick.
            if not self._closed or task in self._phases:
                self._wake(task)

    def _wake(self, task: Task) -> None:
        phase = self._phases.get(task)
        if phase is None:
            self._queue(task)
            self._ready_or_closed.notify()
        elif phase is _Phase.TICKING:
            self._phases[task] = _Phase.TICK_AGAIN

    def _queue(self, task: Task) -> None:
        self._phases[task] = _Phase.QUEUED
        self._due.pop(task, None)
        self._ready.append(task)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            if not self._origin.was_forked:
                with self._lock:
                    self._running -= 1
                    self._calm.notify_all()

    def _keep_time(self) -> None:
        with self._lock:
            while not self._closed:
                now = self._now()
                while self._heap and self._heap[0][0] <= now:
                    due, _, task = heapq.heappop(self._heap)
                    if self._due.get(task) == due:
                        self._wake(task)
                pause = min(self._heap[0][0] - now, threading.TIMEOUT_MAX) if self._heap else None
                self._timer_changed.wait(pause)

    def _work(self) -> None:
        task, due = self._next(), None
        while task is not None:
            due = self._tick(task)
            if self._origin.was_forked:
                # A handler has forked, and this is the child. The conversation continues only in the parent.
                return
            task = self._next(task, due)

    def _next(self, ticked: Task | None = None, due: float | None = None) -> Task | None:
        """Put a ticked task back, and wait for the next task of this worker. Return None after `close`."""
        with self._lock:
            if ticked is not None:
                self._put_back(ticked, due)
            while not self._ready:
                if self._closed:
                    return None
                self._ready_or_closed.wait()
            task = self._ready.popleft()
            self._phases[task] = _Phase.TICKING
            return task

    def _put_back(self, task: Task, due: float | None) -> None:
        again = self._phases.pop(task) is _Phase.TICK_AGAIN
        if again or (due is not None and due <= self._now()):
            # This worker takes the next task immediately. If another worker were woken, both would compete for it.
            self._queue(task)
        elif due is not None:
            self._come_back(task, due)
        if len(self._phases) <= self._closers:
            self._calm.notify_all()

    def _tick(self, task: Task) -> float | None:
        """Tick a task and return when to tick it again. After an error, that is `_RECOVERY` seconds later."""
        try:
            return _checked(task.tick())
        except BaseException:
            log.exception("%s: a tick failed", _description(task))
            return self._now() + _RECOVERY

    def _now(self) -> float:
        """Return the clock's monotonic time. If the clock raises, estimate it from the computer's own time."""
        try:
            now = self._clock.monotonic()
            self._ahead = now - time.monotonic()
        except BaseException:
            log.exception("the clock failed")
            return time.monotonic() + self._ahead
        return now

    def _come_back(self, task: Task, due: float) -> None:
        self._due[task] = due
        heapq.heappush(self._heap, (due, next(self._counter), task))
        if self._heap[0][2] is task:
            self._timer_changed.notify()
        if len(self._heap) > 2 * len(self._due) + 64:
            # Most entries of the heap belong to tasks that were woken before their time. Drop these entries.
            self._heap = [(due, next(self._counter), task) for task, due in self._due.items()]
            heapq.heapify(self._heap)

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """See `Scheduler.wait`."""
        self._origin.check()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return False
            changed.wait(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
            changed.clear()
        return True

    def sleep(self, seconds: float) -> None:
        """See `Scheduler.sleep`. A call of `close` ends the sleep."""
        self._origin.check()
        woken = Changed()
        with self._lock:
            self._sleepers.append(woken)
        try:
            if not self._closed:
                woken.wait(seconds)
        finally:
            with self._lock:
                self._sleepers.remove(woken)

    def close(self, timeout: float) -> None:
        """See `Scheduler.close`. The log names each task that does not end in time.

        The worker of such a task is left behind.
        """
        if self._origin.was_forked:
            return
        deadline = time.monotonic() + timeout
        own = threading.current_thread() in self._threads
        with self._lock:
            # Do not wait for a tick that has called `close` itself.
            self._closers += int(own)
            self._calm.notify_all()
            self._calm.wait_for(lambda: len(self._phases) <= self._closers, timeout)
            busy = list(self._phases)
            self._closed = True
            self._ready.clear()
            self._ready_or_closed.notify_all()
            self._timer_changed.notify_all()
            for woken in self._sleepers:
                woken.set()
            if own:
                # The other OS threads end by themselves. If two workers in `close` waited for each other, both would
                # wait forever.
                return
            # Joining the OS threads would not release the lock, which the method that a signal interrupted may hold.
            seconds = max(deadline - time.monotonic(), 0.0 if busy else _LAST_STEPS)
            self._calm.wait_for(lambda: not self._running, seconds)
        for task in busy:
            log.warning("closing without waiting any longer for %s", _description(task))


def _checked(due: float | None) -> float | None:
    """Return `due`, the time of a task's next tick. Raise an error if it is NaN, which would stop the timer."""
    if due is not None and math.isnan(due):
        raise ValueError("a tick returned a time for the next tick that is not a number")
    return due


def _description(task: Task) -> str:
    """Return a task's description, or the name of its class if `describe` raises an error."""
    try:
        return task.describe()
    except BaseException:  # noqa: BLE001 - it is only a line in the log
        return type(task).__qualname__
