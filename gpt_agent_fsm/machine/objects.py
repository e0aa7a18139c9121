"""The library's own objects for threads, runs, messages and tool calls.

Backends translate the HTTP answers of their API into these objects. No other part of the library knows the format of an
API.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from gpt_agent_fsm.events.parts import Part, plain_text
from gpt_agent_fsm.machine.arguments import have_equal_values
from gpt_agent_fsm.machine.run_status import RunStatus

__all__ = ["CallStage", "Failure", "HostedTool", "Message", "MessagePage", "Run", "RunPage", "ToolCall", "Usage"]


class CallStage(StrEnum):
    """The progress of a tool call that a function or a person answers."""

    OPEN = "open"
    ASKING = "asking"
    """A person must approve or deny the call."""
    APPROVED = "approved"
    STARTED = "started"
    """The function of the call was started."""


@attrs.frozen(kw_only=True)
class ToolCall:
    """The model's request to call a function.

    Attributes:
        arguments: JSON text as the model wrote it; it may be invalid.
        output: the output as JSON text, or None before there is an output.
        stage: the progress of the call, if a function or a person answers it.
        attempt: the number of times that the call's function was started.
        is_safe: True if the call's function may be started again after a crash.
        asked_at: the time at which a person was asked for an approval, in seconds since the epoch; None before that.
        by_server: True if the server itself makes the call, and only asks a person for an approval.
        unlisted: True if the newest poll of the run does not name the call. The call is kept because it has begun, and
            a server may leave out a call in one poll and name it again in the next.
    """

    id: str
    name: str
    arguments: str
    output: str | None = None
    stage: CallStage = CallStage.OPEN
    attempt: int = 0
    is_safe: bool = False
    asked_at: float | None = None
    by_server: bool = False
    unlisted: bool = False

    def asks_for_the_same_as(self, other: ToolCall) -> bool:
        """Return whether both calls have the same name, and arguments that are the same JSON value."""
        return self.name == other.name and have_equal_values(self.arguments, other.arguments)

    @property
    def has_begun(self) -> bool:
        """True if a function was started, a person was asked, or an output was recorded."""
        return self.output is not None or self.stage is not CallStage.OPEN

    @property
    def waits_for_a_person(self) -> bool:
        """True while a person must approve or deny the call."""
        return self.output is None and self.stage is CallStage.ASKING

    @property
    def runs(self) -> bool:
        """True after the function was started, until its output is recorded."""
        return self.output is None and self.stage is CallStage.STARTED

    @property
    def may_be_asked_again(self) -> bool:
        """True if the call's function was not started, or may be started twice. Such a call may be announced again."""
        return self.attempt == 0 or self.is_safe

    @property
    def takes_output(self) -> bool:
        """True while the call accepts an output from `submit_tool_output`."""
        is_open = self.stage is CallStage.OPEN and not self.by_server
        return self.output is None and (is_open or self.stage is CallStage.APPROVED)


@attrs.frozen(kw_only=True)
class HostedTool:
    """One use of a tool that the server runs itself.

    Attributes:
        details: what the server reports about the use, as the JSON text of an object.
    """

    kind: str
    id: str
    details: str = "{}"


@attrs.frozen(kw_only=True)
class Usage:
    """Token counts. A count is 0 if the server does not report it.

    Attributes:
        runs: the number of runs whose tokens are counted.
        cached_tokens: the number of prompt tokens that the server had in its cache.
        reasoning_tokens: the number of completion tokens that the model used to think.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    runs: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in attrs.fields(Usage)}
        )


@attrs.frozen(kw_only=True)
class Message:
    """One message of a thread.

    Attributes:
        content: the text parts of the message, joined by a newline; empty if there are none.
        key: the text that the library put into the message's metadata to find the message again, or None.
        created_at: the time of creation, in seconds since the epoch; None if the server does not report it.
        refusal: the assistant's own words if it refused to answer; None if it did not refuse.
        parts: the texts (with their citations), images and files of the message.
        reasoning: the summary of the reasoning that led to the message; None if the server sends none.
    """

    id: str
    role: str
    content: str
    run_id: str | None = None
    assistant_id: str | None = None
    key: str | None = None
    created_at: float | None = None
    refusal: str | None = None
    parts: tuple[Part, ...] = attrs.field(
        default=attrs.Factory(lambda message: plain_text(message.content), takes_self=True)
    )
    reasoning: str | None = None

    @property
    def is_worth_publishing(self) -> bool:
        """True if the library should publish the message: it is from the assistant, and has a part or a refusal.

        A message with a key is from the user, because only the library sends keys. But some servers copy the key of a
        run to the run's messages.
        """
        is_users = self.key is not None and self.run_id is None
        return self.role == "assistant" and not is_users and bool(self.content or self.parts or self.refusal)


@attrs.frozen(kw_only=True)
class Run:
    """One run as it was last seen.

    Attributes:
        assistant_id: the assistant of the run; None if the server does not report it.
        code, message: the code and the text that say why the run ended; set if `status` is one of the failures.
        key: the text that the library put into the run's metadata to find the run again, or None.
        handle: a value that the backend has made and needs again to find the run; None if the run's id is enough.
        inferred: True if the server does not report the run. Its state is then inferred from its messages on the
            thread.
        messages: the assistant's messages that the run itself reports. The thread's list may not show them yet.
        hosted_tools: the finished uses of the server's own tools that the run reports, in order.
        unsupported: a sentence that says what the run waits for, if the library cannot provide it; otherwise "". With a
            sentence, the status is `NEEDS_TOOLS`.
    """

    id: str
    status: RunStatus
    assistant_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    code: str = ""
    message: str = ""
    usage: Usage = Usage()
    key: str | None = None
    handle: str | None = None
    inferred: bool = False
    messages: tuple[Message, ...] = ()
    hosted_tools: tuple[HostedTool, ...] = ()
    unsupported: str = ""


BUDGET_EXCEEDED = "budget_exceeded"


@attrs.frozen(kw_only=True)
class StreamPosition:
    """The position up to which the stream of a run was announced. Another process can continue the stream from there.

    Attributes:
        handle: the handle of the run when the stream began. Each handle has a stream of its own.
        position: the position of the last announced piece; see `Piece`.
        message_id: the id of the message that the piece belongs to.
        pieces: the number of announced pieces of that message.
    """

    handle: str | None
    position: int
    message_id: str
    pieces: int


@attrs.frozen(kw_only=True)
class Failure:
    """The last failure on a thread.

    Attributes:
        code: the code of the `RunFailed` or `RequestFailed`; `rate_limit_exceeded` for a rate limited run;
            `budget_exceeded` if the tokens of the thread are used up.
        message: a text for people; it is never blank.
        operation: the name of the request that failed, for example `post_message`; None if a run failed, or if the
            tokens are used up.
        parked: True if the thread does nothing until the next command.
    """

    code: str | None
    message: str
    operation: str | None = None
    parked: bool = False


@attrs.frozen(kw_only=True)
class RunPage:
    """The newest runs of a thread, newest first.

    Attributes:
        newest_message_id: the id of the newest message of the thread; "" if the thread has no message; None if the
            backend did not ask the server.
    """

    runs: tuple[Run, ...] = ()
    newest_message_id: str | None = None


@attrs.frozen(kw_only=True)
class MessagePage:
    """Some messages in the order of the server's list.

    Attributes:
        next_after: the id after which the next page starts; None on the last page.
    """

    messages: tuple[Message, ...]
    next_after: str | None = None
