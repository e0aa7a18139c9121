"""The end of a scheduler: it waits for its ticks and its OS threads, and never for itself."""

from __future__ import annotations

import threading
import time

import pytest

from gpt_agent_fsm.engine.scheduler import ThreadedScheduler
from tests.stores.helpers import at_each_line
from tests.unit.tasks import TIMEOUT, Task


def test_closing_returns_as_soon_as_the_last_tick_has_ended(monkeypatch, caplog):
    scheduler, closing = ThreadedScheduler(workers=1), threading.Event()
    wait_for = scheduler._calm.wait_for
    # The lock is held here, so the tick ends only when `close` waits for it.
    monkeypatch.setattr(scheduler._calm, "wait_for", lambda *args: closing.set() or wait_for(*args))
    task = Task(lambda: closing.wait(TIMEOUT) and None)
    scheduler.wake(task)
    before = time.monotonic()
    scheduler.close(TIMEOUT)
    assert time.monotonic() - before < TIMEOUT / 2
    assert len(task.times) == 1
    assert caplog.text == ""


def last_wait(scheduler, timeout):
    """Close a scheduler and return how long it would wait for the ends of its OS threads."""
    waits, wait_for = [], scheduler._calm.wait_for
    scheduler._calm.wait_for = lambda done, seconds: waits.append(seconds) or wait_for(done, seconds)
    scheduler.close(timeout)
    return waits[-1]


@pytest.mark.parametrize(("timeout", "shortest", "longest"), [(TIMEOUT, TIMEOUT / 2, TIMEOUT), (0, 1, 1)])
def test_closing_waits_for_the_ends_of_its_os_threads_for_a_second_at_least(timeout, shortest, longest):
    assert shortest <= last_wait(ThreadedScheduler(workers=1), timeout) <= longest


def test_closing_does_not_wait_for_its_os_threads_once_a_tick_took_too_long():
    scheduler, inside, release = ThreadedScheduler(workers=1), threading.Event(), threading.Event()
    scheduler.wake(Task(lambda: inside.set() or (release.wait(TIMEOUT) and None)))
    assert inside.wait(TIMEOUT)
    assert last_wait(scheduler, 0) == 0
    release.set()
    for thread in scheduler._threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_a_signal_handler_closes_quickly_while_it_interrupts_the_code_that_holds_the_lock():
    scheduler = ThreadedScheduler(workers=8)
    with scheduler._lock:
        before = time.monotonic()
        scheduler.close(TIMEOUT)
    assert time.monotonic() - before < TIMEOUT / 2
    for thread in scheduler._threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_a_signal_handler_may_close_at_any_line_of_a_sleep():
    schedulers = []
    lines = at_each_line(
        lambda: schedulers[-1].sleep(0.01),
        lambda: schedulers[-1].close(TIMEOUT),
        lambda: schedulers.append(ThreadedScheduler(workers=1)),
    )
    assert lines > 5
    for scheduler in schedulers:
        scheduler.close(TIMEOUT)


def test_closing_from_a_tick_returns_as_soon_as_the_last_other_tick_has_ended(monkeypatch):
    scheduler, closing, took = ThreadedScheduler(workers=2), threading.Event(), []
    wait_for, inside, done = scheduler._calm.wait_for, threading.Event(), threading.Event()
    monkeypatch.setattr(scheduler._calm, "wait_for", lambda *args: closing.set() or wait_for(*args))
    scheduler.wake(Task(lambda: inside.set() or (closing.wait(TIMEOUT) and None)))
    assert inside.wait(TIMEOUT)

    def close():
        before = time.monotonic()
        scheduler.close(TIMEOUT)
        took.append(time.monotonic() - before)
        done.set()

    scheduler.wake(Task(close))
    assert done.wait(2 * TIMEOUT)
    assert took[0] < TIMEOUT / 2


def test_closing_from_two_ticks_at_once_waits_for_neither(caplog):
    scheduler, both, took = ThreadedScheduler(workers=2), threading.Barrier(2), []

    def close():
        both.wait(TIMEOUT)
        before = time.monotonic()
        scheduler.close(15)
        took.append(time.monotonic() - before)

    tasks = [Task(close), Task(close)]
    for task in tasks:
        scheduler.wake(task)
    for task in tasks:
        task.wait()
    for thread in scheduler._threads:
        thread.join(TIMEOUT)
    assert max(took) < 10


def test_a_signal_handler_that_interrupted_a_call_may_close():
    scheduler = ThreadedScheduler(workers=1)
    closing = threading.Thread(target=_close_while_the_lock_is_held, args=(scheduler,), daemon=True)
    closing.start()
    closing.join(TIMEOUT)
    assert not closing.is_alive()


def _close_while_the_lock_is_held(scheduler):
    # The handler runs on top of the frame that it interrupted, and that frame may be between any two lines.
    with scheduler._lock:
        scheduler.close(0.01)
