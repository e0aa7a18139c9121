"""The events of tool calls."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = [
    "HostedToolUsed",
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
    """The run waits for the output of a tool call.

    Each call is announced once. If another runtime drives the thread later, that runtime announces the open calls
    again. If no function of the runtime answers the call, your code answers with `Agent.submit_tool_output(id, ...)`.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        arguments: the decoded JSON arguments, usually a dict. If the server makes the call itself and the arguments are
            not valid JSON, this is the text of the arguments.
        again: True if another runtime, which drove the thread before, has already announced the call. An event with
            `again=True` is not part of the history.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    arguments: Any
    again: bool = False


@attrs.frozen(kw_only=True)
class ToolApprovalRequested:
    """A person must decide about a tool call.

    After the decision, your code calls `Agent.approve(id)` or `Agent.deny(id)`.

    Attributes:
        id: the tool call's id.
        name: the function's name.
        arguments: the decoded JSON arguments, usually a dict. If the server makes the call itself and the arguments are
            not valid JSON, this is the text of the arguments.
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
        by: the person who approved the call, as given to `Agent.approve`.
        note: the remark given to `Agent.approve`.
    """

    id: str
    thread_id: str
    by: str | None = None
    note: str | None = None


@attrs.frozen(kw_only=True)
class ToolDenied:
    """A tool call was denied. The output of the call tells the model why.

    Attributes:
        id: the tool call's id.
        by: the person who denied the call, as given to `Agent.deny`. None if the tool's own rule, the approval timeout
            or the end of the run denied it.
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
        attempt: 1 for the first start. It is 2 or more if the function is started again after a crash.
    """

    id: str
    thread_id: str
    run_id: str
    name: str
    attempt: int


@attrs.frozen(kw_only=True)
class ToolOutcomeUnknown:
    """A function was started, and it is unknown whether it took effect: the process died, or the function timed out.

    The function was not declared safe to repeat, so it is not started again. The output of the call tells the model
    that the outcome is unknown.

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
    """The output of a tool call was recorded. When a run's last output is recorded, all its outputs are sent.

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
    """The outputs could not be sent. The state is `failed`.

    The library cancels the run, so that the thread stays usable. If the API key was refused, the run cannot be
    cancelled. In this case, the library keeps the outputs, and sends them when it polls the run again.
    """

    thread_id: str
    run_id: str


@attrs.frozen(kw_only=True)
class HostedToolUsed:
    """The server has run one of its own tools during a run. `AssistantsBackend` learns this when the run has ended.

    Attributes:
        kind: the tool, for example `web_search`, `file_search`, `code_interpreter`, `image_generation` or `mcp`.
        id: the id of the item or call that records the use.
        details: what the server reports about the use, as a dict: for example the `action` of a web search, the
            `queries` of a file search, or the `code` of the interpreter (`input` in the Assistants API).
    """

    thread_id: str
    run_id: str
    kind: str
    id: str
    details: Any
