"""The commands of the user. They are inputs of the state machine, and a store keeps them until they are handled.

`trigger` is the input's name in the machine's table.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import attrs

from gpt_agent_fsm.events.parts import Part

__all__ = [
    "AddUserMessage",
    "ApproveToolCall",
    "CancelRun",
    "Command",
    "Connect",
    "DenyToolCall",
    "DiscardQueue",
    "SetAssistant",
    "SubmitToolOutput",
    "WithdrawMessage",
]


@attrs.frozen(kw_only=True)
class Connect:
    """An agent was connected to this thread.

    Attributes:
        last_message_id: the new cursor; None keeps the old one.
        max_total_tokens: the new limit of tokens; None keeps the old one.
        stream: True if the runs of the thread should be streams, and False if not; None keeps the old value.
        tenant: the customer for whom the thread's requests take their turn; None keeps the old one.
        look: True if the library must ask the server whether a run is in progress.
    """

    trigger: ClassVar[str] = "connect"
    assistant_id: str
    last_message_id: str | None = None
    look: bool = False
    max_total_tokens: int | None = None
    stream: bool | None = None
    tenant: str | None = None


@attrs.frozen(kw_only=True)
class AddUserMessage:
    """Queue this user message.

    Attributes:
        key: a unique text that the library puts into the message's metadata, to find the message on the server again.
        run_options: the options of the message's run, as the JSON text of an object; "" if there are none.
        instead: True if the message interrupts: the run in progress is cancelled, and the message is sent before the
            other queued messages.
        parts: the parts of the message, with all their data; empty if the message is only text.
    """

    trigger: ClassVar[str] = "add_user_message"
    key: str
    content: str
    run_options: str = ""
    instead: bool = False
    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class SubmitToolOutput:
    """Answer a tool call.

    Attributes:
        output: the output of the call as compact JSON text.
    """

    trigger: ClassVar[str] = "submit_tool_output"
    tool_call_id: str
    output: str


@attrs.frozen(kw_only=True)
class SetAssistant:
    """Use this assistant for all later runs."""

    trigger: ClassVar[str] = "set_assistant"
    assistant_id: str


@attrs.frozen(kw_only=True)
class CancelRun:
    """End the run in progress."""

    trigger: ClassVar[str] = "cancel_run"


@attrs.frozen(kw_only=True)
class DiscardQueue:
    """Drop the messages that were not sent, and the run that was not created."""

    trigger: ClassVar[str] = "discard_queue"


@attrs.frozen(kw_only=True)
class WithdrawMessage:
    """Drop one message, if it was not sent."""

    trigger: ClassVar[str] = "withdraw_message"
    key: str


@attrs.frozen(kw_only=True)
class ApproveToolCall:
    """Approve a call that waits for an approval, so that its function starts."""

    trigger: ClassVar[str] = "approve_tool_call"
    tool_call_id: str
    by: str | None = None
    note: str | None = None


@attrs.frozen(kw_only=True)
class DenyToolCall:
    """Deny a call that waits for an approval. The model gets an error as the output of the call.

    Attributes:
        by: the person who denies the call, or None.
        by_rule: True if the tool's own rule denies the call, before anybody is asked.
    """

    trigger: ClassVar[str] = "deny_tool_call"
    tool_call_id: str
    reason: str = ""
    by: str | None = None
    by_rule: bool = False


Command: TypeAlias = (
    Connect
    | AddUserMessage
    | SubmitToolOutput
    | SetAssistant
    | CancelRun
    | DiscardQueue
    | WithdrawMessage
    | ApproveToolCall
    | DenyToolCall
)
