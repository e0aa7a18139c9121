"""The events of a thread: frozen classes, named in the past tense. `gpt_agent_fsm.signals` sends them."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

__all__ = [
    "AgentStopped",
    "AssistantMessageAdded",
    "Event",
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


@attrs.frozen(kw_only=True)
class UserMessageAdded:
    """A user message is on the server's thread.

    Attributes:
        id: the message's id on the server.
        content: the message's text.
        key: the key that `Agent.add_user_message` returned for the message; None in records of an earlier version.
    """

    id: str
    thread_id: str
    content: str
    key: str | None = None


@attrs.frozen(kw_only=True)
class MessagesDiscarded:
    """`Agent.discard_queue` dropped user messages that were not sent.

    Attributes:
        keys: the keys that `Agent.add_user_message` returned for the messages, in order.
    """

    thread_id: str
    keys: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunStarted:
    """A run was created for the thread. There is no such event for an adopted run.

    Attributes:
        id: the run's id.
    """

    id: str
    thread_id: str
    assistant_id: str


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


@attrs.frozen(kw_only=True)
class RunCompleted:
    """The run completed; its messages follow as `AssistantMessageAdded`.

    Attributes:
        id: the run's id.
        prompt_tokens, completion_tokens, total_tokens: the server's token counts; 0 if the server sent none.
    """

    id: str
    thread_id: str
    assistant_id: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@attrs.frozen(kw_only=True)
class AssistantMessageAdded:
    """The assistant added a message.

    Attributes:
        message_id: the message's id on the server, which becomes the agent's `last_message_id`.
        run_id, assistant_id: the ids that the message names; if it names none, those of the current run.
        content: all text parts, joined by a newline; empty only for a refusal.
        refusal: why the assistant refused to answer, in its own words; None if it did not refuse.
    """

    message_id: str
    thread_id: str
    run_id: str
    assistant_id: str
    content: str
    refusal: str | None = None


@attrs.frozen(kw_only=True)
class RunFailed:
    """The run failed and is not started again. The next user message starts a new run.

    Attributes:
        id: the run's id; None if it was cancelled before it was created.
        code: `last_error.code`, else `incomplete_details.reason`, else the run's final status; `timeout`, `cancelled`,
            `unsupported_action` or `not_found` if the library itself ended it.
        message: a text for people; it is never blank.
    """

    id: str | None
    thread_id: str
    assistant_id: str
    code: str
    message: str


@attrs.frozen(kw_only=True)
class RateLimited:
    """The run was rate limited. While retries remain, a new run is started after `rate_limit_retry_delay`.

    Attributes:
        run_id: the run that failed.
        retries_remaining: how many more runs will be tried: 10, 9, ... 0 with the default settings.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    retries_remaining: int


@attrs.frozen(kw_only=True)
class RateLimitRetriesExhausted:
    """The last retry was also rate limited; the state is `failed`. No `RunFailed` is sent.

    Attributes:
        run_id: the last run that failed.
    """

    run_id: str
    thread_id: str
    assistant_id: str


@attrs.frozen(kw_only=True)
class OrganizationQuotaExceeded:
    """The account's balance or spend limit is used up; a person must act. The state is `failed`.

    Attributes:
        run_id: the run that failed, or None if no run could be started. `RunFailed` follows only if a run failed.
    """

    run_id: str | None
    thread_id: str
    assistant_id: str


@attrs.frozen(kw_only=True)
class StateChanged:
    """The thread's state machine moved to another state.

    Attributes:
        source, dest: the names of the old and the new state: "idle", "running", ...
        trigger: the input that caused the transition, by its name in the machine's table.
    """

    thread_id: str
    source: str
    dest: str
    trigger: str


@attrs.frozen(kw_only=True)
class RequestFailed:
    """A request to the API did not succeed.

    Attributes:
        operation: `post_message`, `create_run`, `get_run`, ...
        status: the HTTP status, or None if no HTTP answer arrived.
        code: the API's own code, or None.
        message: one sentence for people; it is never blank and never contains a secret.
        attempt: 1 for the first try of this request.
        will_retry: True if the library retries automatically.
    """

    thread_id: str
    operation: str
    status: int | None
    code: str | None
    message: str
    attempt: int
    will_retry: bool


@attrs.frozen(kw_only=True)
class ThreadStalled:
    """The thread has waited for the same thing for `stall_after` seconds; sent again each time the wait has doubled.

    Nothing ends because of it. `Agent.explain` says what can be called.

    Attributes:
        reason: a sentence that says what the thread waits for, with the last failure if there is one.
        since: since when it waits, in seconds since the epoch.
        next_look: when the library acts next, in seconds since the epoch; None if a request is in flight.
    """

    thread_id: str
    reason: str
    since: float
    next_look: float | None


@attrs.frozen(kw_only=True)
class AgentStopped:
    """The agent was removed from the runtime. Every later call on it raises `AgentNotAlive`.

    Attributes:
        reason: "shutdown", "idle_timeout", "runtime_closed", or "store_taken" if another runtime drives the thread.
    """

    thread_id: str
    reason: str


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
    | ToolCallOutputRecorded
    | ToolCallOutputSubmissionFailed
    | RunCompleted
    | AssistantMessageAdded
    | RunFailed
    | RateLimited
    | RateLimitRetriesExhausted
    | OrganizationQuotaExceeded
    | StateChanged
    | RequestFailed
    | ThreadStalled
    | AgentStopped
)
