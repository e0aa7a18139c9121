"""What was lived on one thread: all that the invariants go by."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.ports import Message, Record, Saved

__all__ = ["Facts"]


@attrs.frozen(kw_only=True)
class Facts:
    """One thread at the end of a life: what the user was promised, and what the server and the store have.

    Attributes:
        settled: whether all threads of the life came to rest.
        strict: whether nothing may be lost or doubled. False where the network broke its promises and the user was
            told so by `RequestFailed`.
        saved: what the store has of the thread.
        accepted: the messages that the library accepted, in order.
        messages: the messages on the server, oldest first.
        outputs: the outputs that the server took for each tool call, in order.
        records: the thread's history.
        heard: the events that the user was told, in order, over all processes.
        agents: how many agents the user subscribed to; each tells the whole history.
        max_attempts: how often the library may try a request.
    """

    settled: bool = True
    strict: bool = True
    saved: Saved | None = None
    accepted: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    outputs: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    records: tuple[Record, ...] = ()
    heard: tuple[Event, ...] = ()
    agents: int = 1
    max_attempts: int = 1

    @property
    def posted(self) -> tuple[str, ...]:
        """The texts of the user's messages on the server, oldest first."""
        return tuple(message.content for message in self.messages if message.role == "user")

    @property
    def happened(self) -> tuple[Event, ...]:
        """The events of the history, in order."""
        return tuple(record.event for record in self.records)
