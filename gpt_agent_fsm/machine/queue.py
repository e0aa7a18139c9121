"""The user's messages that are not yet known to be on the thread, in order, and what changes of them.

A queue stands beside the rest of a snapshot: a store is told what was written to it and removed from it, and may keep
it as rows. So a long queue is not written anew with each commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

__all__ = ["EMPTY", "NO_CHANGE", "Doubt", "Entry", "Queue", "QueueChange", "QueuedMessage"]


@attrs.frozen(kw_only=True)
class Doubt:
    """What to go by while it is unknown whether something of ours is on the server.

    Attributes:
        searches_left: how often to search for it, the grace between, before it is sent again.
        known: the newest ids that were known when the doubt began, so that what is in doubt is newer.
        nothing_before: True if there was known to be nothing older, so that whatever is there is newer.
    """

    searches_left: int
    known: tuple[str, ...] = ()
    nothing_before: bool = False


@attrs.frozen(kw_only=True)
class QueuedMessage:
    """A user message that was accepted and is not yet known to be on the thread.

    Attributes:
        key: ours, unique, sent along so that the message can be found again.
        doubt: set while it is unknown whether the message was posted; only the head of a queue has one.
    """

    key: str
    content: str
    doubt: Doubt | None = None


Entry: TypeAlias = tuple[int, QueuedMessage]
"""A message with its number. Numbers of one queue grow by one from its head on."""


@attrs.frozen(kw_only=True)
class QueueChange:
    """What differs between two moments of a queue.

    Attributes:
        removed: the numbers of messages that are gone.
        written: messages that are new, or that replace what had their number.
    """

    removed: tuple[int, ...] = ()
    written: tuple[Entry, ...] = ()


@attrs.frozen(eq=False)
class Queue:
    """Messages in the order in which they go out.

    Attributes:
        first: the number of the head, or of the next message. Numbers are not used again while anybody may remember
            them, so they tell what changed.
    """

    messages: tuple[QueuedMessage, ...] = ()
    first: int = 1

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Queue:
        """Return the queue of these entries, which are in order."""
        kept = tuple(entries)
        return cls(tuple(message for _, message in kept), kept[0][0]) if kept else cls()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Queue):
            return NotImplemented
        # Of an empty queue nobody keeps the number.
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
        """The message that goes out next; there must be one."""
        return self.messages[0]

    @property
    def doubt(self) -> Doubt | None:
        """What is known while it is unknown whether the head was posted; None otherwise, and without a head."""
        return self.messages[0].doubt if self.messages else None

    def add(self, message: QueuedMessage) -> Queue:
        """Return the queue with a message at its end."""
        return Queue((*self.messages, message), self.first)

    def keep_head(self) -> Queue:
        """Return the queue with its head alone."""
        return Queue(self.messages[:1], self.first)

    def drop_all(self) -> Queue:
        """Return the queue without any message."""
        return Queue((), self.first + len(self.messages))

    def take(self) -> Queue:
        """Return the queue without its head."""
        return Queue(self.messages[1:], self.first + 1)

    def with_doubt(self, doubt: Doubt | None) -> Queue:
        """Return the queue with a doubt about its head, or without one."""
        return Queue((attrs.evolve(self.head, doubt=doubt), *self.messages[1:]), self.first)

    def change_since(self, before: Queue) -> QueueChange:
        """Return what was written and removed since `before`, an earlier moment of this queue."""
        if self is before:
            return NO_CHANGE
        first, end = self.first, self.first + len(self)
        first_before, end_before = before.first, before.first + len(before)
        removed = (*range(first_before, min(end_before, first)), *range(max(first_before, end), end_before))
        written = [*range(first, min(end, first_before)), *range(max(first, end_before), end)]
        # Of the messages that both hold, only the head may differ.
        if first_before <= first < min(end, end_before) and self.head != before.messages[first - first_before]:
            written.insert(0, first)
        return QueueChange(
            removed=removed, written=tuple((number, self.messages[number - first]) for number in written)
        )


EMPTY = Queue()
NO_CHANGE = QueueChange()
