"""The events of tool calls."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = [
    "ToolApprovalRequested",
    "ToolApproved",
    "ToolCallOutputRecorded",
    "ToolCallOutputSubmissionFailed",
    "ToolCallRequested",
    "ToolDenied",
    "ToolOutcomeUnknown",
    "ToolStarted",
]


@attrs.frozen(kw_only=True)
class ToolCallRequested:
    """The run waits for `Agent.submit_tool_output(id, ...)`. Each call is announced once, and again after a takeover.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        arguments: the decoded JSON arguments, usually a dict.
        again: True if the call was announced before, by the runtime that drove the thread then. Such an event is not
            part of the history.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    arguments: Any
    again: bool = False


@attrs.frozen(kw_only=True)
class ToolApprovalRequested:
    """A person must decide about a tool call: call `Agent.approve(id)` or `Agent.deny(id)`.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        arguments: the decoded JSON arguments, usually a dict.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    arguments: Any


@attrs.frozen(kw_only=True)
class ToolApproved:
    """A person approved a tool call.

    Attributes:
        id: the tool call's id.
        by: who approved it, as given to `Agent.approve`.
        note: a remark, as given to `Agent.approve`.
    """

    id: str
    thread_id: str
    by: str | None = None
    note: str | None = None


@attrs.frozen(kw_only=True)
class ToolDenied:
    """A tool call was denied; its output tells the model why.

    Attributes:
        id: the tool call's id.
        by: who denied it, as given to `Agent.deny`; None if no person did: the tool's own rule, the time or the run's
            end.
        reason: the reason, which may be blank.
    """

    id: str
    thread_id: str
    by: str | None = None
    reason: str = ""


@attrs.frozen(kw_only=True)
class ToolStarted:
    """The function of a tool call is started.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        attempt: 1, and 2 or more if the function is started again after a crash.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    attempt: int


@attrs.frozen(kw_only=True)
class ToolOutcomeUnknown:
    """A function was started, and it is unknown whether it has ended: the process died, or its time is over.

    It is not started again, because it was not declared safe; its output tells the model so.

    Attributes:
        id: the tool call's id.
        name: the function's name.
    """

    id: str
    thread_id: str
    run_id: str
    name: str


@attrs.frozen(kw_only=True)
class ToolCallOutputRecorded:
    """An output was recorded. All outputs of a run are sent to the server together, after the last one was recorded.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        output: compact JSON text.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    output: str


@attrs.frozen(kw_only=True)
class ToolCallOutputSubmissionFailed:
    """The outputs could not be sent; the state is `failed`.

    The run is being cancelled, so that the thread stays usable. If the API key was refused, the run cannot be
    cancelled: the outputs are kept, and they are sent when the run is polled again.
    """

    thread_id: str
    run_id: str
