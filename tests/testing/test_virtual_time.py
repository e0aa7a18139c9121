"""Virtual time passes only on command."""

import threading

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.errors import WaitTimeout
from gpt_agent_fsm.testing import Linger, SimulatedServer, VirtualScheduler


class Task:
    def __init__(self, scheduler, *pauses):
        self.scheduler, self.pauses, self.times = scheduler, list(pauses), []

    def tick(self):
        now = self.scheduler.clock.monotonic()
        self.times.append(now)
        return now + self.pauses.pop(0) if self.pauses else None

    def describe(self):
        return "task"


def test_a_task_is_ticked_when_it_is_due():
    scheduler = VirtualScheduler()
    task = Task(scheduler, 5, 0, 2.5)
    scheduler.wake(task)
    scheduler.wake(task)
    scheduler.advance(10)
    assert task.times == [0, 5, 5, 7.5]
    assert scheduler.clock.monotonic() == 10


def test_a_task_that_is_woken_early_is_not_ticked_again_at_its_time():
    scheduler = VirtualScheduler()
    task = Task(scheduler, 5)
    scheduler.wake(task)
    scheduler.advance(1)
    scheduler.wake(task)
    scheduler.advance(10)
    assert task.times == [0, 1]


def test_the_two_clocks_move_together():
    scheduler = VirtualScheduler()
    before = scheduler.clock.time()
    scheduler.sleep(7)
    assert scheduler.clock.time() == before + 7


def test_waiting_ends_at_its_timeout_or_when_no_task_is_due():
    scheduler = VirtualScheduler()
    changed = threading.Event()
    assert scheduler.wait(lambda: False, changed, 3) is False
    assert scheduler.clock.monotonic() == 3
    assert scheduler.wait(lambda: False, changed, None) is False
    assert scheduler.clock.monotonic() == 3
    scheduler.call_later(4, changed.set)
    assert scheduler.wait(changed.is_set, changed, None) is True
    assert scheduler.clock.monotonic() == 7


def test_nothing_is_ticked_after_closing():
    scheduler = VirtualScheduler()
    task = Task(scheduler, 1)
    scheduler.wake(task)
    scheduler.close(1)
    assert task.times == [0]
    scheduler.wake(task)
    scheduler.advance(9)
    assert task.times == [0]


def test_a_run_that_never_ends_does_not_block_a_test():
    with Runtime(SimulatedServer(lambda _: [Linger(10**9)]), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        with pytest.raises(WaitTimeout):
            agent.wait(timeout=3600)
