"""The interfaces of a backend (an API), a store, a scheduler and a clock. Any object with the methods works."""

from gpt_agent_fsm.engine.protocols.backend import (
    MAX_ANSWER_BYTES,
    AccountBackend,
    Backend,
    CallLimits,
    FileBackend,
    NamedBackend,
    RunRequest,
    Timeout,
    ToolOutputsRequest,
)
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.engine.protocols.ownership import AgentHandle, Lease, Ownership
from gpt_agent_fsm.engine.protocols.parts import PartsBackend, UploadBackend
from gpt_agent_fsm.engine.protocols.scheduling import Clock, Scheduler, Task
from gpt_agent_fsm.engine.protocols.store import (
    CountingStore,
    KeyedStore,
    ListingStore,
    MarkedStore,
    PagingStore,
    PrunableStore,
    Record,
    Saved,
    SharedStore,
    Store,
    ThreadRow,
    oldest_kept,
)
from gpt_agent_fsm.engine.protocols.streaming import Piece, RunStream, StreamingBackend

__all__ = [
    "MAX_ANSWER_BYTES",
    "AccountBackend",
    "AgentHandle",
    "Backend",
    "CallLimits",
    "Clock",
    "CountingStore",
    "FileBackend",
    "KeyedStore",
    "Lease",
    "ListingStore",
    "MarkedStore",
    "NamedBackend",
    "Ownership",
    "PartsBackend",
    "Piece",
    "PagingStore",
    "PrunableStore",
    "Record",
    "RunRequest",
    "RunStream",
    "Saved",
    "Scheduler",
    "SharedStore",
    "Store",
    "StreamingBackend",
    "Task",
    "ThreadRow",
    "Timeout",
    "ToolOutputsRequest",
    "UploadBackend",
    "offers",
    "oldest_kept",
]
