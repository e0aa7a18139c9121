"""Group commit: what many threads want written waits together and is written together.

A durable commit costs a flush to disk, and a disk does some hundred of these a second. So there is one queue. Whoever
finds nobody at work becomes the leader: it takes all that waits, writes it as one, gives each its answer, and hands
the lead to the first who came meanwhile. No thread of its own is needed, and a caller who is alone pays nothing extra.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gpt_agent_fsm.errors import StoreError

__all__ = ["GroupCommit", "Ticket"]

T = TypeVar("T")
_INTERRUPTED = "What was written together with this was interrupted, and nothing of it was kept; try again."


class Ticket(Generic[T]):
    """An operation in the queue.

    Attributes:
        answered: True once it is durable.
        error: why it never will be; counts only where `answered` is False.
        leads: True where its caller is to write the next group.
    """

    __slots__ = ("_turn", "answered", "error", "leads", "operation")

    def __init__(self, operation: T) -> None:
        self.operation = operation
        self.answered = False
        self.error: Exception | None = None
        self.leads = False
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self) -> None:
        """Block until it is this ticket's turn: to lead, or to be gone."""
        self._turn.acquire()

    def call(self) -> None:
        """End `wait`."""
        self._turn.release()

    def fail(self, error: StoreError) -> None:
        """Give it an error of its own: one object raised in two threads mixes up their tracebacks."""
        self.error = StoreError(*error.args)
        self.error.__cause__ = error.__cause__


class GroupCommit(Generic[T]):
    """Lets threads write in groups.

    Args:
        write: given tickets in the order in which they came, makes them `answered` or gives them an `error`. Called by
            one thread at a time.
        most: how many tickets a group has at most.
    """

    def __init__(self, write: Callable[[Sequence[Ticket[T]]], None], most: int) -> None:
        self._write = write
        self._most = most
        self._mutex = threading.Lock()
        self._waiting: deque[Ticket[T]] = deque()
        self._has_leader = False

    def do(self, operation: T) -> None:
        """Return when the operation is durable; raise its error when it is not. Blocks while others write."""
        ticket = Ticket(operation)
        try:
            with self._mutex:
                self._waiting.append(ticket)
                must_wait, self._has_leader = self._has_leader, True
                ticket.leads = not must_wait
            if must_wait:
                ticket.wait()
            if ticket.leads:
                self._lead()
        except BaseException:
            self._withdraw(ticket)
            raise
        if not ticket.answered:
            raise ticket.error or StoreError(_INTERRUPTED)

    def _lead(self) -> None:
        group: list[Ticket[T]] = []
        try:
            with self._mutex:
                while self._waiting and len(group) < self._most:
                    group.append(self._waiting.popleft())
            self._write(group)
        finally:
            self._hand_over()
            for ticket in group:
                ticket.call()

    def _hand_over(self) -> None:
        with self._mutex:
            self._has_leader = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].call()

    def _withdraw(self, ticket: Ticket[T]) -> None:
        """Leave the queue on an interrupt, so that nothing is written for, and nobody waits for, one who has gone."""
        with self._mutex:
            if ticket not in self._waiting:
                return
            self._waiting.remove(ticket)
        if ticket.leads:
            self._hand_over()
