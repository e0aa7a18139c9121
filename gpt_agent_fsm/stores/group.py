"""Group commit: the operations of many OS threads wait in one queue and are written together.

A durable commit costs a flush to disk, and a disk does some hundred flushes a second. A caller that finds no leader
becomes the leader. It takes all waiting operations, writes them as one transaction, answers each, and hands the lead to
the first caller that arrived in the meantime. No extra OS thread is needed, and a single caller has no overhead.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gpt_agent_fsm.errors import StoreError

__all__ = ["GroupCommit", "Ticket"]

T = TypeVar("T")
_INTERRUPTED = "The group of this operation was interrupted, and none of it was saved; try again."


class Ticket(Generic[T]):
    """An operation in the queue.

    Attributes:
        answered: True once it is durable.
        error: why it is not durable; only valid if `answered` is False.
        leads: True if its caller must write the next group.
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
        """Block until this ticket is called: its caller leads, or it is finished."""
        self._turn.acquire()

    def call(self) -> None:
        """End `wait`."""
        self._turn.release()

    def fail(self, error: StoreError) -> None:
        """Set a separate copy of the error: one object raised in two OS threads mixes up their tracebacks."""
        self.error = StoreError(*error.args)
        self.error.__cause__ = error.__cause__


class GroupCommit(Generic[T]):
    """Lets OS threads write in groups.

    Args:
        write: called with tickets in order of arrival; marks each as `answered` or sets its `error`. Called by one
            OS thread at a time.
        maximum: how many tickets a group has at most.
    """

    def __init__(self, write: Callable[[Sequence[Ticket[T]]], None], maximum: int) -> None:
        self._write = write
        self._maximum = maximum
        self._mutex = threading.Lock()
        self._waiting: deque[Ticket[T]] = deque()
        self._has_leader = False

    def do(self, operation: T) -> None:
        """Return when the operation is durable, or raise its error. Blocks while others write."""
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
                while self._waiting and len(group) < self._maximum:
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
        """Leave the queue after an interrupt: the operation is not written, and no caller waits for this one."""
        with self._mutex:
            if ticket not in self._waiting:
                return
            self._waiting.remove(ticket)
        if ticket.leads:
            self._hand_over()
