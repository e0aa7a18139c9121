"""What the library says about threads, runs, messages and tool calls, in its own words.

Backends translate their wire into these; nothing of a wire's shapes leaks above them.
"""

from __future__ import annotations

import attrs

from gpt_agent_fsm.machine.run_status import RunStatus

__all__ = ["Message", "MessagePage", "Run", "RunPage", "ToolCall", "Usage"]


@attrs.frozen(kw_only=True)
class ToolCall:
    """A function the model wants called.

    Attributes:
        arguments: JSON text as the model wrote it; it may be broken.
        output: JSON text of the answer, or None while it is open.
    """

    id: str
    name: str
    arguments: str
    output: str | None = None


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens a run took; 0 where the server does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@attrs.frozen(kw_only=True)
class Message:
    """One message of a thread.

    Attributes:
        content: its text parts, joined by a newline; empty if it has none.
        key: the key of ours that the message was posted with, or None.
        created_at: seconds since the epoch, or None where the server does not say.
        refusal: why the assistant would not answer, in its own words; None if it did.
    """

    id: str
    role: str
    content: str
    run_id: str | None = None
    assistant_id: str | None = None
    key: str | None = None
    created_at: float | None = None
    refusal: str | None = None

    @property
    def is_worth_publishing(self) -> bool:
        """True for a message of the assistant's that says something. What has a key of ours is no such message."""
        return self.role == "assistant" and self.key is None and bool(self.content or self.refusal)


@attrs.frozen(kw_only=True)
class Run:
    """One run as it was last seen.

    Attributes:
        assistant_id: None where the server does not say.
        code, message: why the run ended; set where `status` is one of the failures.
        key: the key of ours that the run was created with, or None.
        handle: what a backend needs to find the run if its id alone does not suffice; None if the id is all there
            is to know.
        inferred: True if the server does not report the run: its state is inferred from what it left on the thread.
        messages: what the run itself says it has answered, since a thread's list of messages may lag behind.
        unsupported: what the run waits for, in a sentence, if it is something that cannot be given here. Its status is
            `NEEDS_TOOLS` then.
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
    unsupported: str = ""


@attrs.frozen(kw_only=True)
class RunPage:
    """The newest runs of a thread, newest first.

    Attributes:
        newest_message_id: the newest message of the thread, "" if it has none; None if the backend did not ask.
    """

    runs: tuple[Run, ...] = ()
    newest_message_id: str | None = None


@attrs.frozen(kw_only=True)
class MessagePage:
    """Some messages in the order the server gave them.

    Attributes:
        next_after: the id to ask after for the next page, or None where this is the last.
    """

    messages: tuple[Message, ...]
    next_after: str | None = None
