"""The queue of user messages that are not yet known to be on the thread, in order, and the changes of this queue.

With each commit, a store gets only the messages that were added, changed or removed. The store may keep each message as
a row of its own, apart from the rest of the snapshot. So a long queue is not written again with each commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from gpt_agent_fsm.events.parts import Part

__all__ = ["EMPTY", "NO_CHANGE", "Doubt", "Entry", "Queue", "QueueChange", "QueuedMessage"]


@attrs.frozen(kw_only=True)
class Doubt:
    """The doubt whether a message or run is on the server, with the data that the search for it needs.

    Attributes:
        searches_left: the number of searches that the library still makes before it sends the request again. Between
            two searches, the library waits for `Settings.outcome_grace` seconds.
        known: the newest ids that were known when the doubt began. The message or run in doubt is newer than these.
        nothing_before: True if the server is known to have had no message, or no run, when the doubt began.
    """

    searches_left: int
    known: tuple[str, ...] = ()
    nothing_before: bool = False


@attrs.frozen(kw_only=True)
class QueuedMessage:
    """A user message that was accepted and is not yet known to be on the thread.

    Attributes:
        key: a unique text that the library puts into the message's metadata, to find the message on the server again.
        run_options: the options of the message's run, as the JSON text of an object; "" if there are none.
        doubt: set while it is unknown whether the message was posted. Only the first message of a queue (the head) can
            have a doubt.
        parts: the parts of the message, with all their data; empty if the message is only text.
    """

    key: str
    content: str
    doubt: Doubt | None = None
    run_options: str = ""
    parts: tuple[Part, ...] = ()


Entry: TypeAlias = tuple[int, QueuedMessage]
"""A number and a message. The number of each message is that of the message before it plus one."""


@attrs.frozen(kw_only=True)
class QueueChange:
    """The difference between two versions of a queue.

    Attributes:
        removed: the numbers of the messages that were removed.
        written: messages that are new, or that replace the message with the same number.
    """

    removed: tuple[int, ...] = ()
    written: tuple[Entry, ...] = ()


@attrs.frozen(eq=False)
class Queue:
    """The queued messages, in the order in which they are sent. The first message is the head.

    Attributes:
        first: the number of the head. If the queue is empty, the number that the next message gets. A number is not
            used again while a store may know it, so the numbers show what changed.
    """

    messages: tuple[QueuedMessage, ...] = ()
    first: int = 1

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Queue:
        """Return the queue of these entries. The entries must be in order."""
        kept = tuple(entries)
        return cls(tuple(message for _, message in kept), kept[0][0]) if kept else cls()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Queue):
            return NotImplemented
        # No store keeps the number of an empty queue.
        return self.messages == other.messages and (self.first == other.first or not self.messages)

    def __hash__(self) -> int:
        return hash(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[QueuedMessage]:
        return iter(self.messages)

    def __getitem__(self, index: int) -> QueuedMessage:
        return self.messages[index]

    @property
    def head(self) -> QueuedMessage:
        """The message that is sent next; there must be one."""
        return self.messages[0]

    @property
    def doubt(self) -> Doubt | None:
        """The doubt about the first message: it is set while it is unknown whether this message was posted."""
        return self.messages[0].doubt if self.messages else None

    def add(self, message: QueuedMessage) -> Queue:
        """Return the queue with a message at its end."""
        return Queue((*self.messages, message), self.first)

    def add_first(self, message: QueuedMessage, *, behind_head: bool) -> Queue:
        """Return the queue with a new message before all other messages.

        With `behind_head`, the first message stays before the new message.
        """
        kept = 1 if behind_head else 0
        # The messages get new numbers, because each number must be one more than the number before it.
        messages = (*self.messages[:kept], message, *self.messages[kept:])
        return Queue(messages, self.first + len(self.messages))

    def keep_head(self) -> Queue:
        """Return the queue with only its first message."""
        # The message gets a new number. With its old one, the next message would get the number of a dropped message.
        return self if len(self.messages) < 2 else Queue(self.messages[:1], self.first + len(self.messages))

    def without(self, key: str) -> Queue:
        """Return the queue without the message with this key."""
        kept = tuple(message for message in self.messages if message.key != key)
        # The messages get new numbers, because numbers have no gaps.
        return Queue(kept, self.first + len(self.messages))

    def drop_all(self) -> Queue:
        """Return the queue without any message."""
        return Queue((), self.first + len(self.messages))

    def take(self) -> Queue:
        """Return the queue without its first message."""
        return Queue(self.messages[1:], self.first + 1)

    def with_doubt(self, doubt: Doubt | None) -> Queue:
        """Return the queue with this doubt about its first message. None removes the doubt."""
        return Queue((attrs.evolve(self.head, doubt=doubt), *self.messages[1:]), self.first)

    def change_since(self, before: Queue) -> QueueChange:
        """Return the messages written and removed since `before`, an earlier version of this queue."""
        if self is before:
            return NO_CHANGE
        first, end = self.first, self.first + len(self)
        first_before, end_before = before.first, before.first + len(before)
        removed = (*range(first_before, min(end_before, first)), *range(max(first_before, end), end_before))
        written = [*range(first, min(end, first_before)), *range(max(first, end_before), end)]
        # Of the messages that both versions contain, only the head may differ.
        if first_before <= first < min(end, end_before) and self.head != before.messages[first - first_before]:
            written.insert(0, first)
        return QueueChange(
            removed=removed, written=tuple((number, self.messages[number - first]) for number in written)
        )


EMPTY = Queue()
NO_CHANGE = QueueChange()
