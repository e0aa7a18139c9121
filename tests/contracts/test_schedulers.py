"""The schedulers and clocks of the library pass their contracts."""

from gpt_agent_fsm.engine.scheduler import SystemClock, ThreadedScheduler
from gpt_agent_fsm.testing import VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.contracts import ClockContract, SchedulerContract


class TestThreadedScheduler(SchedulerContract):
    workers = 2

    def make_scheduler(self):
        return ThreadedScheduler(self.workers)


class TestThreadedSchedulerWithOneWorker(SchedulerContract):
    workers = 1

    def make_scheduler(self):
        return ThreadedScheduler(self.workers)


class TestVirtualScheduler(SchedulerContract):
    def make_scheduler(self):
        return VirtualScheduler()


class TestSystemClock(ClockContract):
    def make_clock(self):
        return SystemClock()


class TestVirtualClock(ClockContract):
    def make_clock(self):
        return VirtualClock()

    def let_pass(self, clock, seconds):
        clock.now += seconds
