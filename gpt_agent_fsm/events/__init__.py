"""The events of a thread. Each is a frozen class with a name in the past tense. `gpt_agent_fsm.signals` sends them."""

from __future__ import annotations

from typing import TypeAlias

from gpt_agent_fsm.events.runs import (
    AssistantMessageAdded,
    AssistantMessageDelta,
    MessagesDiscarded,
    OrganizationQuotaExceeded,
    RateLimited,
    RateLimitRetriesExhausted,
    RunCompleted,
    RunFailed,
    RunStarted,
    UserMessageAdded,
)
from gpt_agent_fsm.events.threads import (
    AgentStopped,
    BudgetExceeded,
    RequestFailed,
    StateChanged,
    ThreadStalled,
)
from gpt_agent_fsm.events.tools import (
    HostedToolUsed,
    ToolApprovalRequested,
    ToolApproved,
    ToolCallOutputRecorded,
    ToolCallOutputSubmissionFailed,
    ToolCallRequested,
    ToolDenied,
    ToolOutcomeUnknown,
    ToolStarted,
)

__all__ = [
    "AgentStopped",
    "AssistantMessageAdded",
    "AssistantMessageDelta",
    "BudgetExceeded",
    "Event",
    "HostedToolUsed",
    "MessagesDiscarded",
    "OrganizationQuotaExceeded",
    "RateLimitRetriesExhausted",
    "RateLimited",
    "RequestFailed",
    "RunCompleted",
    "RunFailed",
    "RunStarted",
    "StateChanged",
    "ThreadStalled",
    "ToolApprovalRequested",
    "ToolApproved",
    "ToolCallOutputRecorded",
    "ToolCallOutputSubmissionFailed",
    "ToolCallRequested",
    "ToolDenied",
    "ToolOutcomeUnknown",
    "ToolStarted",
    "UserMessageAdded",
]

Event: TypeAlias = (
    UserMessageAdded
    | MessagesDiscarded
    | RunStarted
    | ToolCallRequested
    | ToolApprovalRequested
    | ToolApproved
    | ToolDenied
    | ToolStarted
    | ToolOutcomeUnknown
    | HostedToolUsed
    | ToolCallOutputRecorded
    | ToolCallOutputSubmissionFailed
    | RunCompleted
    | AssistantMessageDelta
    | AssistantMessageAdded
    | RunFailed
    | RateLimited
    | RateLimitRetriesExhausted
    | OrganizationQuotaExceeded
    | BudgetExceeded
    | StateChanged
    | RequestFailed
    | ThreadStalled
    | AgentStopped
)
