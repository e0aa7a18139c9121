"""Virtual time, which passes only on command, and a scheduler that uses it and starts no OS threads."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

import attrs

from gpt_agent_fsm.ports import Clock, Task

__all__ = ["VirtualClock", "VirtualScheduler"]

_EPOCH = 1_750_000_000.0


@attrs.define
class VirtualClock:
    """A clock that `VirtualScheduler` advances.

    Attributes:
        now: seconds since the clock was created.
        offset: seconds by which the wall clock was set forward; negative if the wall clock was set back.
    """

    now: float = 0.0
    offset: float = 0.0

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.now

    def time(self) -> float:
        """See `Clock.time`."""
        return _EPOCH + self.now + self.offset


class VirtualScheduler:
    """A scheduler with virtual time. It ticks tasks on the caller's OS thread, in the order in which they become due.

    So each execution is deterministic. `Agent.wait` advances the time as far as necessary. `advance` advances the time
    by a given number of seconds.
    """

    def __init__(self) -> None:
        self._clock = VirtualClock()
        self._ready: dict[Task, None] = {}
        self._due: dict[Task, float] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._closed = False
        self._ticking = False

    @property
    def clock(self) -> Clock:
        """See `Scheduler.clock`."""
        return self._clock

    def set_time_of_day(self, offset: float) -> None:
        """Set the wall clock, as a person or a time server does. No time passes. See `VirtualClock.offset`."""
        self._clock.offset = offset

    def wake(self, task: Task) -> None:
        """See `Scheduler.wake`."""
        self._due.pop(task, None)
        if not self._closed:
            self._ready.setdefault(task)

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after this many seconds of virtual time."""
        heapq.heappush(self._heap, (self._clock.now + seconds, next(self._counter), action))

    def _tick(self, task: Task) -> None:
        due = task.tick()
        if due is None or self._closed or task in self._ready:
            return
        if due <= self._clock.now:
            self._ready.setdefault(task)
            return
        self._due[task] = due

        def wake_if_due() -> None:
            if self._due.get(task) == due:
                self.wake(task)

        heapq.heappush(self._heap, (due, next(self._counter), wake_if_due))

    def step(self) -> bool:
        """Run one tick that is due now. Return False if no tick is due, or if a tick is running."""
        while self._heap and self._heap[0][0] <= self._clock.now:
            heapq.heappop(self._heap)[2]()
        if not self._ready:
            return False
        if self._ticking:
            return False
        task = next(iter(self._ready))
        del self._ready[task]
        self._ticking = True
        try:
            self._tick(task)
        finally:
            self._ticking = False
        return True

    def settle(self) -> None:
        """Run every tick that is due now."""
        while self.step():
            pass

    def advance(self, seconds: float) -> None:
        """Let this number of seconds pass, and run everything that becomes due during that time."""
        until = self._clock.now + seconds
        self.settle()
        while self._move(until):
            self.settle()
        # A tick may have advanced the time further than `until`, and the time never goes back.
        self._clock.now = max(self._clock.now, until)

    def _move(self, until: float) -> bool:
        """Advance the time to the next moment when something is due. Return False if there is none up to `until`."""
        if not self._heap or self._heap[0][0] > until:
            return False
        self._clock.now = max(self._clock.now, self._heap[0][0])
        return True

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """See `Scheduler.wait`. The time that passes is virtual."""
        del changed
        until = float("inf") if timeout is None else self._clock.now + timeout
        while not done():
            if not self.step() and not self._move(until):
                self._clock.now = self._clock.now if until == float("inf") else until
                return done()
        return True

    def sleep(self, seconds: float) -> None:
        """See `Scheduler.sleep`. No task is ticked during the sleep."""
        self._clock.now += seconds

    def restart(self) -> None:
        """Forget every task, as after a crash. The time is not reset, and calls set by `call_later` remain."""
        self._ready.clear()
        self._due.clear()
        self._closed = self._ticking = False

    def close(self, timeout: float) -> None:
        """Tick every task that is due now. After that, tick no more. See `Scheduler.close`.

        If this method is called during a tick, the scheduler stays open. The other due ticks run after that tick.
        """
        del timeout
        self.settle()
        self._closed = not self._ticking
