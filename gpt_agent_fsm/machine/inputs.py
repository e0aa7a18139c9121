"""What the state machine is told: commands of the user, and facts about the world.

`trigger` is the input's name in the machine's table.
"""

from __future__ import annotations

import math
from typing import ClassVar, TypeAlias

import attrs

from gpt_agent_fsm.machine.objects import MessagePage, Run
from gpt_agent_fsm.settings import MAX_RETRY_AFTER

__all__ = [
    "AddUserMessage",
    "CancelRun",
    "Command",
    "Connect",
    "DeadlinePassed",
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
    "SubmitToolOutput",
    "Proceed",
    "RequestBlocked",
    "TimerDue",
]

# --- commands -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Connect:
    """Somebody holds this thread now.

    Attributes:
        last_message_id: moves the cursor; None leaves it.
        look: True if the server must be asked for a run in progress.
    """

    trigger: ClassVar[str] = "connect"
    assistant_id: str
    last_message_id: str | None = None
    look: bool = False


@attrs.frozen(kw_only=True)
class AddUserMessage:
    """Say this.

    Attributes:
        key: ours, unique, sent along as metadata so that the message can be found again.
    """

    trigger: ClassVar[str] = "add_user_message"
    key: str
    content: str


@attrs.frozen(kw_only=True)
class SubmitToolOutput:
    """Answer a tool call.

    Attributes:
        output: compact JSON text.
    """

    trigger: ClassVar[str] = "submit_tool_output"
    tool_call_id: str
    output: str


@attrs.frozen(kw_only=True)
class SetAssistant:
    """Use this assistant for the runs to come."""

    trigger: ClassVar[str] = "set_assistant"
    assistant_id: str


@attrs.frozen(kw_only=True)
class CancelRun:
    """End the run in progress."""

    trigger: ClassVar[str] = "cancel_run"


@attrs.frozen(kw_only=True)
class DiscardQueue:
    """Drop what was not sent, and the run that was not created."""

    trigger: ClassVar[str] = "discard_queue"


# --- facts --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Resume:
    """The process that drove this thread is gone; this one continues from what it saved."""

    trigger: ClassVar[str] = "resume"


@attrs.frozen(kw_only=True)
class TimerDue:
    """The time of the last `Wait` is over."""

    trigger: ClassVar[str] = "timer_due"


@attrs.frozen(kw_only=True)
class DeadlinePassed:
    """The run, or its wait for tools, has taken longer than it may.

    Attributes:
        setting: `run_timeout` or `tool_timeout`.
        seconds: its value.
    """

    trigger: ClassVar[str] = "deadline_passed"
    setting: str
    seconds: float


@attrs.frozen(kw_only=True)
class QuotaRestored:
    """Another thread has got something through: an empty balance is no longer what keeps this one parked."""

    trigger: ClassVar[str] = "quota_restored"


@attrs.frozen(kw_only=True)
class Proceed:
    """The thread is at rest: decide what comes next. Only the machine itself sends this."""

    trigger: ClassVar[str] = "proceed"


@attrs.frozen(kw_only=True)
class RunsListed:
    """Answer to `GetLatestRun`, newest first.

    Attributes:
        newest_message_id: as in `RunPage`.
    """

    trigger: ClassVar[str] = "runs_listed"
    runs: tuple[Run, ...]
    newest_message_id: str | None = None


@attrs.frozen(kw_only=True)
class MessagePosted:
    """Answer to `PostMessage`.

    Attributes:
        key_kept: True where the server's answer shows that it kept our key.
    """

    trigger: ClassVar[str] = "message_posted"
    message_id: str
    key_kept: bool = False


@attrs.frozen(kw_only=True)
class RunCreated:
    """Answer to `CreateRun`."""

    trigger: ClassVar[str] = "run_created"
    run: Run


@attrs.frozen(kw_only=True)
class RunSeen:
    """Answer to `GetRun`, `SubmitToolOutputs` or `CancelRun`."""

    trigger: ClassVar[str] = "run_seen"
    run: Run


@attrs.frozen(kw_only=True)
class MessagesListed:
    """Answer to `ListMessages`."""

    trigger: ClassVar[str] = "messages_listed"
    page: MessagePage


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None or math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)


@attrs.frozen(kw_only=True)
class RequestFailure:
    """The request that is under way did not succeed; the subclass says what that means.

    Attributes:
        status: HTTP status, or None where no answer arrived.
        message: one sentence for a person.
        retry_after: seconds the server asked to wait, at most `MAX_RETRY_AFTER`, or None.
    """

    status: int | None = None
    code: str | None = None
    message: str
    retry_after: float | None = attrs.field(default=None, converter=_bounded)


@attrs.frozen(kw_only=True)
class RequestDelayed(RequestFailure):
    """Nothing took effect, or repeating is harmless: try again later."""

    trigger: ClassVar[str] = "request_delayed"


@attrs.frozen(kw_only=True)
class RequestUnresolved(RequestFailure):
    """The request may or may not have taken effect.

    Attributes:
        in_flight: True where no answer arrived, so that it may still land.
    """

    trigger: ClassVar[str] = "request_unresolved"
    in_flight: bool = False


@attrs.frozen(kw_only=True)
class RequestBlocked(RequestFailure):
    """A run is in the way.

    Attributes:
        locked: True if it may be a run that nobody can list, and that will end sooner or later.
    """

    trigger: ClassVar[str] = "request_blocked"
    locked: bool = False


@attrs.frozen(kw_only=True)
class RequestRejected(RequestFailure):
    """The server said no, and would say so again.

    Attributes:
        content_refused: True if the message's own text can never be accepted.
    """

    trigger: ClassVar[str] = "request_rejected"
    content_refused: bool = False


@attrs.frozen(kw_only=True)
class RequestNeedsOperator(RequestFailure):
    """A person must act: the key, or the balance.

    Attributes:
        quota: True for the balance, False for the key.
    """

    trigger: ClassVar[str] = "request_needs_operator"
    quota: bool = False


Command: TypeAlias = Connect | AddUserMessage | SubmitToolOutput | SetAssistant | CancelRun | DiscardQueue
Input: TypeAlias = (
    Command
    | Resume
    | TimerDue
    | DeadlinePassed
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
