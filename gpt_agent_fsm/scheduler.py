"""The former place of the scheduler and the clock. Both are now in `gpt_agent_fsm.ports`."""

from gpt_agent_fsm.ports import SystemClock, ThreadedScheduler

__all__ = ["SystemClock", "ThreadedScheduler"]
