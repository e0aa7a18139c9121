"""The interfaces of a backend, a store, a scheduler and a clock, and the objects that they use.

Any object with the methods of an interface implements the interface. The suites in `gpt_agent_fsm.testing.contracts`
test what each interface promises.
"""

from gpt_agent_fsm.engine.protocols import (
    AgentHandle,
    Backend,
    CallLimits,
    Clock,
    CountingStore,
    FileBackend,
    KeyedStore,
    Lease,
    ListingStore,
    Ownership,
    PagingStore,
    PartsBackend,
    Piece,
    PrunableStore,
    Record,
    RunRequest,
    RunStream,
    Saved,
    Scheduler,
    Store,
    StreamingBackend,
    Task,
    ThreadRow,
    Timeout,
    ToolOutputsRequest,
    UploadBackend,
    oldest_kept,
)
from gpt_agent_fsm.engine.run_options import RUN_OPTIONS, RunOptions
from gpt_agent_fsm.engine.scheduler import SystemClock, ThreadedScheduler
from gpt_agent_fsm.events import media
from gpt_agent_fsm.events.parts import Citation, File, Image, Part, Text
from gpt_agent_fsm.machine.objects import HostedTool, Message, MessagePage, Run, RunPage, ToolCall, Usage
from gpt_agent_fsm.machine.run_status import RunStatus

__all__ = [
    "RUN_OPTIONS",
    "AgentHandle",
    "Backend",
    "CallLimits",
    "Citation",
    "Clock",
    "CountingStore",
    "File",
    "FileBackend",
    "HostedTool",
    "Image",
    "KeyedStore",
    "Lease",
    "ListingStore",
    "Message",
    "MessagePage",
    "Ownership",
    "Piece",
    "PagingStore",
    "PrunableStore",
    "Part",
    "PartsBackend",
    "Record",
    "Run",
    "RunOptions",
    "RunPage",
    "RunRequest",
    "RunStream",
    "RunStatus",
    "Saved",
    "Scheduler",
    "Store",
    "StreamingBackend",
    "SystemClock",
    "Task",
    "Text",
    "ThreadRow",
    "ThreadedScheduler",
    "Timeout",
    "ToolCall",
    "ToolOutputsRequest",
    "media",
    "oldest_kept",
    "UploadBackend",
    "Usage",
]
