"""What third parties implement or need: a backend, a store, a scheduler, a clock, and the objects they speak of.

Anything of these shapes will do; the suites in `gpt_agent_fsm.testing.contracts` hold what each has to do.
"""

from gpt_agent_fsm.engine.protocols import (
    AgentHandle,
    Backend,
    CallLimits,
    Clock,
    Lease,
    Ownership,
    Record,
    RunRequest,
    Saved,
    Scheduler,
    Store,
    Task,
    Timeout,
    ToolOutputsRequest,
)
from gpt_agent_fsm.engine.scheduler import SystemClock, ThreadedScheduler
from gpt_agent_fsm.machine.objects import Message, MessagePage, Run, RunPage, ToolCall, Usage
from gpt_agent_fsm.machine.run_status import RunStatus

__all__ = [
    "AgentHandle",
    "Backend",
    "CallLimits",
    "Clock",
    "Lease",
    "Message",
    "MessagePage",
    "Ownership",
    "Record",
    "Run",
    "RunPage",
    "RunRequest",
    "RunStatus",
    "Saved",
    "Scheduler",
    "Store",
    "SystemClock",
    "Task",
    "ThreadedScheduler",
    "Timeout",
    "ToolCall",
    "ToolOutputsRequest",
    "Usage",
]
