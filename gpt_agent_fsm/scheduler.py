"""The former place of the scheduler and the clock. `gpt_agent_fsm.ports` has both now."""

from gpt_agent_fsm.ports import SystemClock, ThreadedScheduler

__all__ = ["SystemClock", "ThreadedScheduler"]
