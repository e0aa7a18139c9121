"""Group commit: the operations of many OS threads wait in one queue, and one worker writes them together.

A durable commit needs a flush of the disk, and a disk can do a few hundred flushes a second. The worker takes all
waiting operations, writes them in one transaction, and answers each caller.

A caller only puts a ticket into the queue and waits for the answer. So an interrupt of a caller, at any line, leaves
nothing half done. And the handler of an operating system signal may call the store even if it has interrupted another
call of the store.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.store_errors import OUTCOME_UNKNOWN

__all__ = ["GroupCommit", "Ticket"]

T = TypeVar("T")


class Ticket(Generic[T]):
    """An operation in the queue, and the result of writing it.

    Attributes:
        error: why the operation is not durable. It is valid only if `answered` is False.
    """

    __slots__ = ("_called", "_end", "error", "operation")

    def __init__(self, operation: T) -> None:
        self.operation: T = operation
        self.error: Exception | None = None
        # The first call of `answer` or `give_up` decides. `setdefault` is atomic. Unlike a lock, it leaves nothing
        # locked after an interrupt.
        self._end: dict[str, str] = {}
        self._called = threading.Lock()
        self._called.acquire()

    @property
    def answered(self) -> bool:
        """True if the operation is written durably, and the caller is told so."""
        return self._end.get("end") == "answered"

    @property
    def given_up(self) -> bool:
        """True if the caller has stopped waiting, and does not know whether the operation is written."""
        return self._end.get("end") == "given up"

    def answer(self) -> bool:
        """Note that the operation is written durably. Return whether the caller still waits for this answer."""
        return self._end.setdefault("end", "answered") == "answered"

    def give_up(self) -> None:
        """Note that the caller has stopped waiting. If the ticket is already answered, nothing changes."""
        self._end.setdefault("end", "given up")

    def fail(self, error: StoreError) -> None:
        """Set a copy of the error as the result.

        If two OS threads raised the same object, their tracebacks would be mixed up.
        """
        self.error = type(error)(*error.args)
        self.error.__cause__ = error.__cause__

    def wait(self, seconds: float) -> None:
        """Block until another OS thread calls `call`, but at most for this many seconds."""
        self._called.acquire(timeout=seconds)

    def call(self) -> None:
        """End the `wait` of the caller."""
        self._called.release()


class GroupCommit(Generic[T]):
    """Collects the operations of many OS threads, and writes them in groups.

    Args:
        write: the function that writes a group. One worker calls it with the tickets of the group in the order of their
            arrival. For each ticket, the function calls `answer` or sets the `error`.
        maximum: the largest number of tickets in a group.
        patience: the longest time in seconds that a caller waits.
    """

    def __init__(self, write: Callable[[Sequence[Ticket[T]]], None], maximum: int, patience: float) -> None:
        self._write = write
        self._maximum = maximum
        self._patience = patience
        self._queue: SimpleQueue[Ticket[T] | None] = SimpleQueue()
        self._ended = False
        # The OS thread is a daemon, so a script ends even if it does not close its store.
        self._worker = threading.Thread(target=self._work, name="gpt-agent-fsm-store", daemon=True)
        self._worker.start()

    def do(self, operation: T) -> None:
        """Write an operation. Return when it is durable, or raise an error if it is not."""
        ticket = Ticket(operation)
        try:
            self._queue.put(ticket)
            if self._ended:
                # The worker may have ended without taking this ticket.
                self._refuse_rest()
            ticket.wait(self._patience)
        finally:
            # If the ticket is not answered here, the time is over or the caller was interrupted.
            ticket.give_up()
        if not ticket.answered:
            raise ticket.error or StoreError(
                f"The database did not answer within {self._patience:g} seconds; check it and the network. "
                f"{OUTCOME_UNKNOWN}"
            )

    def end(self) -> None:
        """Let the worker write the operations in the queue, and then end. Later operations are refused.

        The method does not wait. Idempotent.
        """
        self._queue.put(None)

    def _work(self) -> None:
        while not self._ended:
            group = self._next_group()
            try:
                self._write([ticket for ticket in group if not ticket.given_up])
            except BaseException as error:  # noqa: BLE001 - whatever it is, the worker must not end
                problem = StoreError(f"Writing a group of operations failed ({type(error).__name__}); try again.")
                for ticket in group:
                    ticket.fail(problem)
            for ticket in group:
                ticket.call()
        self._refuse_rest()

    def _next_group(self) -> list[Ticket[T]]:
        """Block until there is a ticket. Return this ticket and the tickets that wait behind it."""
        group: list[Ticket[T]] = []
        entry = self._queue.get()
        with contextlib.suppress(Empty):
            while entry is not None:
                group.append(entry)
                if len(group) == self._maximum:
                    return group
                entry = self._queue.get_nowait()
            self._ended = True
        return group

    def _refuse_rest(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                ticket = self._queue.get_nowait()
                if ticket is not None:
                    ticket.fail(StoreError("This store was closed; make a new one."))
                    ticket.call()
