"""The contract of a `Scheduler`, as a test class to inherit from."""

from __future__ import annotations

import math
import threading
import unittest
from collections.abc import Callable

from gpt_agent_fsm.ports import Scheduler

__all__ = ["SchedulerContract", "ScriptedTask"]

_PATIENCE = 20.0
_SOON = 0.02
_LATER = 0.06

Step = Callable[[], float | None]


class ScriptedTask:
    """A task that takes one step of its script per tick, and does nothing after the last step.

    Attributes:
        times: the times at which the ticks began, in monotonic seconds of the scheduler's clock.
        overlapped: True if two ticks were in progress at the same time.
    """

    def __init__(self, contract: SchedulerContract, *script: Step) -> None:
        self._contract = contract
        self._script = list(script)
        self._inside = threading.Lock()
        self.times: list[float] = []
        self.overlapped: bool = False

    def tick(self) -> float | None:
        """See `Task.tick`."""
        alone = self._inside.acquire(blocking=False)
        self.overlapped = self.overlapped or not alone
        try:
            self.times.append(self._contract.now())
            return self._script.pop(0)() if self._script else None
        finally:
            if alone:
                self._inside.release()
            self._contract.changed.set()

    def describe(self) -> str:
        """See `Task.describe`."""
        return "a task of the contract"


class SchedulerContract:
    """The tests of a scheduler. To run them, write a subclass `Test...` in a test file, and implement `make_scheduler`.

    The tests wait for ticks with `Scheduler.wait`. So they also work for a scheduler that ticks only inside `wait`.

    Attributes:
        workers: the number of ticks that the scheduler runs at the same time, on its own OS threads; 0 if it ticks on
            the caller's OS thread.
        changed: a `threading.Event` that is set after each tick.
    """

    workers: int = 0

    def make_scheduler(self) -> Scheduler:
        """Return a new scheduler. The contract closes it."""
        raise NotImplementedError

    # --- helpers ---------------------------------------------------------------------------------------------

    def setup_method(self) -> None:
        self.changed: threading.Event = threading.Event()
        self.hung: threading.Event = threading.Event()
        """Set when the test is over, to end the ticks that hang."""
        self._scheduler: Scheduler | None = None

    def teardown_method(self) -> None:
        self.hung.set()
        if self._scheduler is not None:
            self._scheduler.close(_PATIENCE)

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of this test. It is made at its first use, so the fixtures of the subclass run before that."""
        if self._scheduler is None:
            self._scheduler = self.make_scheduler()
        return self._scheduler

    def now(self) -> float:
        """Return the monotonic time of the scheduler's clock."""
        return self.scheduler.clock.monotonic()

    def task(self, *script: Step) -> ScriptedTask:
        """Return a task that takes these steps, one per tick."""
        return ScriptedTask(self, *script)

    def woken(self, *script: Step) -> ScriptedTask:
        """Make a task with this script, wake it in the scheduler, and return it."""
        task = self.task(*script)
        self.scheduler.wake(task)
        return task

    def after(self, seconds: float) -> Step:
        """Return a step that asks for another tick after this time."""
        return lambda: self.now() + seconds

    def wait_for(self, task: ScriptedTask, ticks: int) -> None:
        """Wait until a task was ticked this number of times."""
        in_time = self.scheduler.wait(lambda: len(task.times) >= ticks, self.changed, _PATIENCE)
        assert in_time, f"a task was ticked {len(task.times)} times and not {ticks} times"

    def let_time_pass(self) -> None:
        """Wait until a new task was ticked after `_LATER` seconds.

        By then, the scheduler has had the time to tick every task that was due earlier.
        """
        self.wait_for(self.woken(self.after(_LATER)), 2)

    def needs_workers(self, workers: int) -> None:
        """Skip the test for a scheduler with fewer workers."""
        if self.workers < workers:
            raise unittest.SkipTest(f"this scheduler has fewer than {workers} workers")

    def hang(self) -> None:
        """Block until the test is over."""
        self.hung.wait(_PATIENCE)

    def close_in_time(self, timeout: float) -> None:
        """Close the scheduler, and check that this does not take long."""
        closer = threading.Thread(target=self.scheduler.close, args=[timeout], daemon=True)
        closer.start()
        closer.join(_PATIENCE / 2)
        assert not closer.is_alive(), "close waits for what does not come"

    # --- when a task is ticked ---------------------------------------------------------------------------------

    def test_a_task_that_is_woken_is_ticked(self) -> None:
        self.wait_for(self.woken(), 1)

    def test_a_task_that_asks_for_nothing_is_ticked_once(self) -> None:
        task = self.woken()
        self.wait_for(task, 1)
        self.let_time_pass()
        assert len(task.times) == 1

    def test_a_task_comes_back_when_it_is_due_and_not_before(self) -> None:
        task = self.woken(self.after(_SOON), self.after(_SOON))
        self.wait_for(task, 3)
        first, second, third = task.times
        assert second - first >= _SOON
        assert third - second >= _SOON

    def test_a_task_that_asks_for_now_or_for_the_past_is_ticked_again(self) -> None:
        self.wait_for(self.woken(self.after(0), self.after(-1)), 3)

    def test_a_task_that_is_due_much_later_delays_no_other(self) -> None:
        late = self.woken(self.after(10 * _PATIENCE))
        self.wait_for(late, 1)
        self.wait_for(self.woken(self.after(_SOON)), 2)
        assert len(late.times) == 1

    def test_a_wake_takes_the_place_of_the_time_that_was_set(self) -> None:
        task = self.woken(self.after(_SOON))
        self.wait_for(task, 1)
        self.scheduler.wake(task)
        self.wait_for(task, 2)
        self.let_time_pass()
        assert len(task.times) == 2

    def test_tasks_woken_at_once_by_many_os_threads_are_all_ticked(self) -> None:
        tasks = [self.task() for _ in range(8)]
        barrier = threading.Barrier(len(tasks))

        def wake(task: ScriptedTask) -> None:
            barrier.wait(_PATIENCE)
            self.scheduler.wake(task)

        assert self.scheduler is not None, "the scheduler is made before the OS threads want it"
        wakers = [threading.Thread(target=wake, args=[task], daemon=True) for task in tasks]
        for waker in wakers:
            waker.start()
        for waker in wakers:
            waker.join(_PATIENCE)
        for task in tasks:
            self.wait_for(task, 1)

    # --- one tick at a time --------------------------------------------------------------------------------------

    def test_a_task_that_is_woken_during_its_tick_is_ticked_again(self) -> None:
        task = self.task(lambda: self.scheduler.wake(task))
        self.scheduler.wake(task)
        self.wait_for(task, 2)

    def test_a_task_is_ticked_at_most_once_at_a_time(self) -> None:
        other_was_ticked = threading.Event()
        other = self.task(other_was_ticked.set)
        delayed: list[bool] = []

        def wake_both() -> None:
            self.scheduler.wake(task)
            self.scheduler.wake(other)
            if self.workers > 1:
                # `task` was woken before `other`. So if a second tick of `task` did not wait for the end of this tick,
                # it would have begun before the tick of `other`.
                delayed.append(not other_was_ticked.wait(_PATIENCE))

        task = self.task(wake_both)
        self.scheduler.wake(task)
        self.wait_for(task, 2)
        self.wait_for(other, 1)
        assert not any(delayed), "a tick in progress delays another task"
        assert not task.overlapped

    def test_a_tick_that_hangs_delays_no_other_task(self) -> None:
        self.needs_workers(2)
        self.woken(self.hang)
        self.wait_for(self.woken(self.after(_SOON)), 2)

    # --- waiting ---------------------------------------------------------------------------------------------------

    def test_waiting_for_what_is_so_already_returns_at_once(self) -> None:
        before = self.now()
        assert self.scheduler.wait(lambda: True, threading.Event(), None)
        assert self.scheduler.wait(lambda: True, threading.Event(), 0)
        assert self.now() - before < _PATIENCE

    def test_waiting_in_vain_ends_at_its_timeout(self) -> None:
        before = self.now()
        assert not self.scheduler.wait(lambda: False, threading.Event(), _SOON)
        assert self.now() - before >= _SOON
        assert not self.scheduler.wait(lambda: False, threading.Event(), 0)

    def test_a_waiter_checks_its_condition_after_every_change(self) -> None:
        task = self.task(self.after(_SOON), self.after(0), self.after(_SOON))
        self.scheduler.wake(task)
        assert self.scheduler.wait(lambda: len(task.times) >= 4, self.changed, None)
        assert len(task.times) == 4

    def test_a_timeout_of_any_length_is_waited_for(self) -> None:
        for timeout in (math.inf, 1e30):
            task = self.woken(self.after(_SOON))
            assert self.scheduler.wait(lambda task=task: len(task.times) >= 2, self.changed, timeout)  # type: ignore[misc]

    def test_sleeping_takes_its_time(self) -> None:
        before = self.now()
        self.scheduler.sleep(_SOON)
        assert self.now() - before >= _SOON * 0.9

    # --- the end ---------------------------------------------------------------------------------------------------

    def test_closing_lets_ticks_end_that_were_asked_for(self) -> None:
        tasks = [self.woken() for _ in range(8)]
        self.scheduler.close(_PATIENCE)
        assert [len(task.times) for task in tasks] == [1] * 8

    def test_nothing_is_ticked_after_closing(self) -> None:
        due, idle = self.woken(self.after(_LATER)), self.woken()
        self.wait_for(due, 1)
        self.wait_for(idle, 1)
        self.scheduler.close(_PATIENCE)
        self.scheduler.wake(idle)
        assert not self.scheduler.wait(lambda: len(due.times) > 1 or len(idle.times) > 1, self.changed, 2 * _LATER)

    def test_closing_twice_is_closing_once(self) -> None:
        self.wait_for(self.woken(), 1)
        self.scheduler.close(_PATIENCE)
        self.scheduler.close(_PATIENCE)

    def test_a_wake_after_closing_keeps_no_second_close_waiting(self) -> None:
        task = self.woken()
        self.scheduler.close(_PATIENCE)
        self.scheduler.wake(task)
        self.close_in_time(_PATIENCE)

    def test_closing_from_a_tick_returns(self) -> None:
        closed = threading.Event()

        def close() -> None:
            self.scheduler.close(_SOON)
            closed.set()

        self.wait_for(self.woken(close), 1)
        assert closed.is_set()

    def test_closing_waits_no_longer_than_it_is_told_for_a_tick_that_hangs(self) -> None:
        self.needs_workers(1)
        begun = threading.Event()

        def begin_and_hang() -> None:
            begun.set()
            self.hang()

        self.woken(begin_and_hang)
        assert begun.wait(_PATIENCE)
        self.close_in_time(_SOON)
