"""The contracts find schedulers and clocks that break them."""

from __future__ import annotations

import itertools
import threading
import unittest

import attrs
import pytest

from gpt_agent_fsm.engine.scheduler import SystemClock, ThreadedScheduler
from gpt_agent_fsm.testing import VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.contracts import ClockContract, SchedulerContract


@attrs.frozen(eq=False)
class Changed:
    """A task whose answer a broken scheduler misunderstands."""

    task: object
    scheduler: VirtualScheduler

    def tick(self):
        return self.scheduler.misunderstand(self.task.tick())


class Misunderstands(VirtualScheduler):
    def __init__(self):
        super().__init__()
        self.known = {}

    def wake(self, task):
        super().wake(task if isinstance(task, Changed) else self.known.setdefault(task, Changed(task, self)))


class NeverComesBack(Misunderstands):
    def misunderstand(self, due):
        return None


class ComesBackEarly(Misunderstands):
    def misunderstand(self, due):
        return None if due is None else due - 0.001


class ComesBackUnasked(Misunderstands):
    def misunderstand(self, due):
        return self.clock.monotonic() + 0.01 if due is None else due


class RefusesThePast(Misunderstands):
    def misunderstand(self, due):
        return due if due is None or due > self.clock.monotonic() else None


class NeverWakes(VirtualScheduler):
    def wake(self, task):
        pass


class KeepsTheOldTime(VirtualScheduler):
    def wake(self, task):
        if not self._closed:
            self._ready.setdefault(task)


class TicksInsideWake(VirtualScheduler):
    def wake(self, task):
        self._tick(task)


class TicksInsideWakeOnce(VirtualScheduler):
    def wake(self, task):
        if self._ticking:
            task.tick()
        else:
            super().wake(task)


class LosesWakesDuringTicks(VirtualScheduler):
    def wake(self, task):
        if not self._ticking:
            super().wake(task)


class WaitsOnce(VirtualScheduler):
    def wait(self, done, changed, timeout):
        self.step()
        return done()


class NeverGivesUp(VirtualScheduler):
    def wait(self, done, changed, timeout):
        return super().wait(done, changed, timeout) or True


class GivesUpEarly(VirtualScheduler):
    def wait(self, done, changed, timeout):
        return super().wait(done, changed, None)


class DoesNotSleep(VirtualScheduler):
    def sleep(self, seconds):
        pass


class DropsTicksAtClose(VirtualScheduler):
    def close(self, timeout):
        self.restart()
        self._closed = True


class TicksAfterClose(VirtualScheduler):
    def close(self, timeout):
        self.settle()


class ClosesOnce(VirtualScheduler):
    def close(self, timeout):
        if self._closed:
            raise RuntimeError("closed")
        super().close(timeout)


class CannotBeClosedByATick(VirtualScheduler):
    def close(self, timeout):
        if self._ticking:
            raise RuntimeError("in a tick")
        super().close(timeout)


class OneAtATime(ThreadedScheduler):
    workers = 2

    def __init__(self):
        super().__init__(1)


class TicksTwiceAtOnce(ThreadedScheduler):
    workers = 2

    def __init__(self):
        super().__init__(2)

    def wake(self, task):
        if task in self._phases:
            again = threading.Thread(target=task.tick)
            again.start()
            again.join()
        else:
            super().wake(task)


class LosesWakesOfOthers(ThreadedScheduler):
    workers = 2

    def __init__(self):
        super().__init__(2)

    def wake(self, task):
        if threading.current_thread() is threading.main_thread():
            super().wake(task)


class WaitsForEver(ThreadedScheduler):
    workers = 2

    def __init__(self):
        super().__init__(2)

    def close(self, timeout):
        super().close(threading.TIMEOUT_MAX)


class RemembersWakesAfterClosing(ThreadedScheduler):
    workers = 2

    def __init__(self):
        super().__init__(2)

    def wake(self, task):
        with self._lock:
            self._wake(task)


class CannotWaitLong(ThreadedScheduler):
    """It hands any timeout on to the operating system, which takes no long one."""

    workers = 2

    def __init__(self):
        super().__init__(self.workers)

    def wait(self, done, changed, timeout):
        if timeout is not None and timeout > threading.TIMEOUT_MAX:
            raise OverflowError("timestamp too large")
        return super().wait(done, changed, timeout)


def fails(scheduler, test):
    """Return whether a test of the contract fails for a scheduler."""

    class Contract(SchedulerContract):
        workers = getattr(scheduler, "workers", 0)

        def make_scheduler(self):
            return scheduler()

    contract = Contract()
    contract.setup_method()
    try:
        getattr(contract, f"test_{test}")()
    except unittest.SkipTest:
        raise
    except Exception:
        return True
    finally:
        contract.hung.set()
        # What is broken may not close either; a base class does.
        base = ThreadedScheduler if isinstance(contract.scheduler, ThreadedScheduler) else VirtualScheduler
        base.close(contract.scheduler, 0)
    return False


BROKEN = [
    (NeverWakes, "a_task_that_is_woken_is_ticked"),
    (ComesBackUnasked, "a_task_that_asks_for_nothing_is_ticked_once"),
    (NeverComesBack, "a_task_comes_back_when_it_is_due_and_not_before"),
    (ComesBackEarly, "a_task_comes_back_when_it_is_due_and_not_before"),
    (RefusesThePast, "a_task_that_asks_for_now_or_for_the_past_is_ticked_again"),
    (NeverComesBack, "a_task_that_is_due_much_later_delays_no_other"),
    (KeepsTheOldTime, "a_wake_takes_the_place_of_the_time_that_was_set"),
    (LosesWakesOfOthers, "tasks_woken_at_once_by_many_os_threads_are_all_ticked"),
    (LosesWakesDuringTicks, "a_task_that_is_woken_during_its_tick_is_ticked_again"),
    (TicksInsideWake, "a_task_is_ticked_at_most_once_at_a_time"),
    (TicksInsideWakeOnce, "a_task_is_ticked_at_most_once_at_a_time"),
    (TicksTwiceAtOnce, "a_task_is_ticked_at_most_once_at_a_time"),
    (OneAtATime, "a_task_is_ticked_at_most_once_at_a_time"),
    (OneAtATime, "a_tick_that_hangs_delays_no_other_task"),
    (GivesUpEarly, "waiting_in_vain_ends_at_its_timeout"),
    (NeverGivesUp, "waiting_in_vain_ends_at_its_timeout"),
    (WaitsOnce, "a_waiter_checks_its_condition_after_every_change"),
    (CannotWaitLong, "a_timeout_of_any_length_is_waited_for"),
    (DoesNotSleep, "sleeping_takes_its_time"),
    (DropsTicksAtClose, "closing_lets_ticks_end_that_were_asked_for"),
    (TicksAfterClose, "nothing_is_ticked_after_closing"),
    (ClosesOnce, "closing_twice_is_closing_once"),
    (CannotBeClosedByATick, "closing_from_a_tick_returns"),
    (WaitsForEver, "closing_waits_no_longer_than_it_is_told_for_a_tick_that_hangs"),
    (RemembersWakesAfterClosing, "a_wake_after_closing_keeps_no_second_close_waiting"),
]


@pytest.mark.parametrize(("scheduler", "test"), BROKEN)
def test_a_scheduler_that_breaks_a_promise_fails_the_test_of_it(scheduler, test, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("gpt_agent_fsm.testing.contracts.scheduler._PATIENCE", 0.5)
        assert fails(scheduler, test)
    whole = next(base for base in (ThreadedScheduler, VirtualScheduler) if issubclass(scheduler, base))
    unbroken = type("Unbroken", (whole,), {"__init__": lambda self: whole.__init__(self, *_workers(scheduler))})
    unbroken.workers = getattr(scheduler, "workers", 0)
    assert not fails(unbroken, test)


def _workers(scheduler):
    return [scheduler.workers] if issubclass(scheduler, ThreadedScheduler) else []


def test_each_promise_of_a_scheduler_has_an_implementation_that_breaks_it():
    promised = {name.removeprefix("test_") for name in dir(SchedulerContract) if name.startswith("test_")}
    assert promised - {test for _, test in BROKEN} == {"waiting_for_what_is_so_already_returns_at_once"}


# --- clocks -----------------------------------------------------------------------------------------------------


class Stopped(VirtualClock):
    def monotonic(self):
        return 5.0


class CountsMilliseconds(SystemClock):
    def monotonic(self):
        return super().monotonic() * 1000


class TellsMilliseconds(SystemClock):
    def time(self):
        return super().time() * 1000


class StoppedOnTheWall(SystemClock):
    def time(self):
        return 1_750_000_000.0 - super().monotonic() * 1000


class NeverStarted(SystemClock):
    def monotonic(self):
        return float("nan")


class JumpsBack(SystemClock):
    def __init__(self):
        self.steps = itertools.count()

    def monotonic(self):
        return super().monotonic() - next(self.steps) % 7


class OneForEachThread(SystemClock):
    def monotonic(self):
        return super().monotonic() - (0 if threading.current_thread() is threading.main_thread() else 100)


@pytest.mark.parametrize(
    ("clock", "test"),
    [
        (NeverStarted, "both_readings_are_finite_numbers"),
        (JumpsBack, "monotonic_time_never_goes_back"),
        (OneForEachThread, "monotonic_time_is_the_same_on_every_os_thread"),
        (Stopped, "monotonic_time_counts_seconds"),
        (CountsMilliseconds, "monotonic_time_counts_seconds"),
        (TellsMilliseconds, "time_is_told_in_seconds_since_the_epoch"),
        (StoppedOnTheWall, "both_readings_move_together"),
    ],
)
def test_a_clock_that_breaks_a_promise_fails_the_test_of_it(clock, test):
    class Contract(ClockContract):
        def make_clock(self):
            return clock()

    with pytest.raises(AssertionError):
        getattr(Contract(), f"test_{test}")()


@pytest.mark.parametrize(("contract", "make"), [(SchedulerContract, "make_scheduler"), (ClockContract, "make_clock")])
def test_a_contract_without_an_implementation_says_so(contract, make):
    with pytest.raises(NotImplementedError):
        getattr(contract(), make)()
