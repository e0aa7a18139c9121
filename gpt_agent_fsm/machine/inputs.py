"""The inputs of the state machine: facts about the world, and the user's commands, which `commands` defines.

The attribute `trigger` of a class is the name of the input in the machine's table.
"""

from __future__ import annotations

import math
from typing import ClassVar, TypeAlias

import attrs

from gpt_agent_fsm.machine.commands import (
    AddUserMessage,
    ApproveToolCall,
    CancelRun,
    Command,
    Connect,
    DenyToolCall,
    DiscardQueue,
    SetAssistant,
    SubmitToolOutput,
    WithdrawMessage,
)
from gpt_agent_fsm.machine.objects import MessagePage, Run
from gpt_agent_fsm.settings import MAX_RETRY_AFTER

__all__ = [
    "AddUserMessage",
    "ApproveToolCall",
    "AskForApproval",
    "CancelRun",
    "Command",
    "Connect",
    "DeadlinePassed",
    "DenyToolCall",
    "DiscardQueue",
    "RequestFailure",
    "Input",
    "QuotaRestored",
    "MessagePosted",
    "MessagesListed",
    "RequestUnresolved",
    "RequestDelayed",
    "RequestNeedsOperator",
    "RequestRejected",
    "Resume",
    "RunCreated",
    "RunSeen",
    "RunsListed",
    "SetAssistant",
    "StartTool",
    "StillWaiting",
    "ToolEnded",
    "ToolLost",
    "SubmitToolOutput",
    "Proceed",
    "RequestBlocked",
    "TimerDue",
    "WithdrawMessage",
]

# --- facts --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Resume:
    """Another process drove this thread before, and has ended. This process continues from the saved snapshot."""

    trigger: ClassVar[str] = "resume"


@attrs.frozen(kw_only=True)
class TimerDue:
    """The timer of the last `Wait` has ended."""

    trigger: ClassVar[str] = "timer_due"


@attrs.frozen(kw_only=True)
class DeadlinePassed:
    """A deadline has passed: the run, or its wait for tools, has taken longer than a setting allows.

    Attributes:
        setting: `run_timeout` or `tool_timeout`.
        seconds: the value of the setting.
    """

    trigger: ClassVar[str] = "deadline_passed"
    setting: str
    seconds: float


@attrs.frozen(kw_only=True)
class StillWaiting:
    """The thread has waited for the same thing for a long time.

    Attributes:
        seconds: the seconds that the thread has waited.
        next_look: the time at which the library acts next, in seconds since the epoch; None if a request is in flight.
    """

    trigger: ClassVar[str] = "still_waiting"
    seconds: float
    next_look: float | None


@attrs.frozen(kw_only=True)
class AskForApproval:
    """A person must approve the call before its function is started.

    Attributes:
        at: the current time, in seconds since the epoch.
    """

    trigger: ClassVar[str] = "ask_for_approval"
    tool_call_id: str
    at: float


@attrs.frozen(kw_only=True)
class StartTool:
    """The function of the call will be started as soon as this input is saved."""

    trigger: ClassVar[str] = "start_tool"
    tool_call_id: str
    is_safe: bool


@attrs.frozen(kw_only=True)
class ToolEnded:
    """The function of the call has an output.

    Attributes:
        output: the output of the call as compact JSON text.
    """

    trigger: ClassVar[str] = "tool_ended"
    tool_call_id: str
    attempt: int
    output: str


@attrs.frozen(kw_only=True)
class ToolLost:
    """The function of the call was started and may have run, but the library will never get its output.

    Attributes:
        reason: a sentence for the model.
    """

    trigger: ClassVar[str] = "tool_lost"
    tool_call_id: str
    attempt: int
    reason: str


@attrs.frozen(kw_only=True)
class QuotaRestored:
    """The balance of the account is no longer exhausted, because another thread has created a run.

    So a thread that was parked (stopped until the next command) because of the balance may continue.
    """

    trigger: ClassVar[str] = "quota_restored"


@attrs.frozen(kw_only=True)
class Proceed:
    """The thread is at rest: decide what to do next. Only the machine itself sends this input."""

    trigger: ClassVar[str] = "proceed"


@attrs.frozen(kw_only=True)
class RunsListed:
    """The answer to `GetLatestRun`: the newest runs of the thread, newest first.

    Attributes:
        newest_message_id: as in `RunPage`.
    """

    trigger: ClassVar[str] = "runs_listed"
    runs: tuple[Run, ...]
    newest_message_id: str | None = None


@attrs.frozen(kw_only=True)
class MessagePosted:
    """The answer to `PostMessage`.

    Attributes:
        key_kept: True if the HTTP answer shows the key that the library put into the message's metadata. Then the
            server keeps metadata.
    """

    trigger: ClassVar[str] = "message_posted"
    message_id: str
    key_kept: bool = False


@attrs.frozen(kw_only=True)
class RunCreated:
    """The answer to `CreateRun`: the run."""

    trigger: ClassVar[str] = "run_created"
    run: Run


@attrs.frozen(kw_only=True)
class RunSeen:
    """The answer to `GetRun`, `SubmitToolOutputs` or `CancelRun`: the run as it is now."""

    trigger: ClassVar[str] = "run_seen"
    run: Run


@attrs.frozen(kw_only=True)
class MessagesListed:
    """The answer to `ListMessages`: one page of messages."""

    trigger: ClassVar[str] = "messages_listed"
    page: MessagePage


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None or math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


@attrs.frozen(kw_only=True)
class RequestFailure:
    """The request in flight did not succeed. Each subclass says what the library knows about the outcome.

    Attributes:
        status: the HTTP status, or None if no HTTP answer arrived.
        message: one sentence for a person.
        retry_after: the seconds that the server asks the client to wait, at most `MAX_RETRY_AFTER`; None if the server
            does not ask.
    """

    status: int | None = None
    code: str | None = None
    message: str
    retry_after: float | None = attrs.field(default=None, converter=_bounded)


@attrs.frozen(kw_only=True)
class RequestDelayed(RequestFailure):
    """The request took no effect, or repeating it is harmless. The machine sends it again later."""

    trigger: ClassVar[str] = "request_delayed"


@attrs.frozen(kw_only=True)
class RequestUnresolved(RequestFailure):
    """It is unknown whether the request took effect.

    Attributes:
        in_flight: True if the request may still take effect later. False if the API itself has certainly answered it.
    """

    trigger: ClassVar[str] = "request_unresolved"
    in_flight: bool = False


@attrs.frozen(kw_only=True)
class RequestBlocked(RequestFailure):
    """The request was refused because another run is active.

    Attributes:
        locked: True if a list of runs may lack the other run. Such a run will end sooner or later.
    """

    trigger: ClassVar[str] = "request_blocked"
    locked: bool = False


@attrs.frozen(kw_only=True)
class RequestRejected(RequestFailure):
    """The server rejected the request. It would reject the same request again.

    Attributes:
        content_refused: True if the server will always refuse the message, or an option of its run. So the message can
            never be posted, or no run can ever be created for it.
    """

    trigger: ClassVar[str] = "request_rejected"
    content_refused: bool = False


@attrs.frozen(kw_only=True)
class RequestNeedsOperator(RequestFailure):
    """A person must act: the API key is wrong, or the balance is exhausted.

    Attributes:
        quota: True if the balance is exhausted; False if the API key is wrong.
    """

    trigger: ClassVar[str] = "request_needs_operator"
    quota: bool = False


Input: TypeAlias = (
    Command
    | Resume
    | TimerDue
    | DeadlinePassed
    | StillWaiting
    | AskForApproval
    | StartTool
    | ToolEnded
    | ToolLost
    | QuotaRestored
    | Proceed
    | RunsListed
    | MessagePosted
    | RunCreated
    | RunSeen
    | MessagesListed
    | RequestDelayed
    | RequestUnresolved
    | RequestBlocked
    | RequestRejected
    | RequestNeedsOperator
)
