"""Writes a group of operations in one transaction, or each in its own if the group fails."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.stores import schema
from gpt_agent_fsm.stores.engine import Database
from gpt_agent_fsm.stores.group import Ticket
from gpt_agent_fsm.stores.store_errors import concerns_one_operation, to_store_error
from gpt_agent_fsm.stores.write_batch import Counters, Flush, Operation, WriteBatch

__all__ = ["Writer"]

_MAX_KNOWN = 100_000
"""How many threads have their counters in memory: about 30 megabytes."""
_MAX_LOOKUP = 500


class Writer:
    """The only writer of the database, so that counters remain valid in memory once they were read.

    Args:
        epoch: our epoch; if the database has another one, another process has taken over.
        turn: held during a transaction.
    """

    def __init__(self, database: Database, epoch: int, turn: AbstractContextManager[Any]) -> None:
        self._database = database
        self._epoch = epoch
        self._turn = turn
        self._mutex = threading.Lock()
        self._known: dict[str, Counters] = {}
        self._marks: dict[str, int] = {}
        self._closed = False

    # --- from any OS thread -------------------------------------------------------------------------------------

    def marks(self) -> Mapping[str, int]:
        """Return the marks that are not saved yet: the number of the last announced record of each thread."""
        with self._mutex:
            return dict(self._marks)

    def note(self, thread_id: str, seq: int) -> bool:
        """Record a mark, to be saved with the next group. Return whether it should be saved now."""
        with self._mutex:
            counters = self._known.get(thread_id)
            if counters is None:
                return True
            mark = min(seq, counters.last_seq)
            if mark <= max(counters.announced, self._marks.get(thread_id, 0)):
                return False
            self._marks[thread_id] = mark
            return counters.settled and mark == counters.last_seq

    # --- from one OS thread at a time ---------------------------------------------------------------------------

    def write(self, tickets: Sequence[Ticket[Operation]]) -> None:
        """Answer all tickets: each is durable, or has its own error."""
        if self._closed:
            _fail(tickets, StoreError("This store was closed; make a new one."))
        elif (error := self._attempt(tickets)) is not None:
            if len(tickets) > 1 and concerns_one_operation(error):
                self._write_singly(tickets)
            else:
                _fail(tickets, to_store_error(error, self._database.name))
        self._closed = self._closed or any(isinstance(ticket.operation, Flush) for ticket in tickets)

    def _write_singly(self, tickets: Sequence[Ticket[Operation]]) -> None:
        for done, ticket in enumerate(tickets):
            if (error := self._attempt([ticket])) is not None:
                alone = concerns_one_operation(error)
                _fail([ticket] if alone else tickets[done:], to_store_error(error, self._database.name))
                if not alone:
                    return

    def _attempt(self, tickets: Sequence[Ticket[Operation]]) -> Exception | None:
        try:
            self._transact(tickets)
        except Exception as error:  # noqa: BLE001 - handed to the waiting callers
            return error
        return None

    def _transact(self, tickets: Sequence[Ticket[Operation]]) -> None:
        marks = self.marks()
        if not marks and all(isinstance(ticket.operation, Flush) for ticket in tickets):
            self._settle(WriteBatch({}), marks, tickets)
            return
        with self._turn, self._database.writing.connect() as connection:
            group = connection.execute(schema.NEXT_GROUP, {"our_epoch": self._epoch}).scalar_one_or_none()
            if group is None:
                raise StoreTaken(
                    f"Another process has taken over {self._database.name}; this one can no longer write. "
                    "Open only one store for writing."
                )
            batch = self._batch(connection, tickets, marks)
            _insert(connection, batch)
            try:
                connection.commit()
            except BaseException as error:
                if not self._took_effect(connection, group, error):
                    raise
                self._settle(batch, marks, tickets)
                if not isinstance(error, Exception):
                    raise
            else:
                self._settle(batch, marks, tickets)

    def _batch(
        self, connection: sa.Connection, tickets: Sequence[Ticket[Operation]], marks: Mapping[str, int]
    ) -> WriteBatch:
        touched = {ticket.operation.thread_id for ticket in tickets if not isinstance(ticket.operation, Flush)}
        batch = WriteBatch(self._counters(connection, touched | marks.keys()))
        for thread_id, mark in marks.items():
            batch.mark(thread_id, mark)
        for ticket in tickets:
            ticket.error = None
            try:
                batch.add(ticket.operation)
            except StoreError as error:
                ticket.error = error
        return batch

    def _counters(self, connection: sa.Connection, thread_ids: Iterable[str]) -> Mapping[str, Counters]:
        """Return the counters of the threads; read those from the database that are not in memory."""
        known = {thread_id: self._known.get(thread_id) for thread_id in thread_ids}
        unknown = [thread_id for thread_id, counters in known.items() if counters is None]
        found = {thread_id: counters for thread_id, counters in known.items() if counters is not None}
        for start in range(0, len(unknown), _MAX_LOOKUP):
            query = {"thread_ids": unknown[start : start + _MAX_LOOKUP]}
            for row in connection.execute(schema.COUNTERS, query):
                found[row.thread_id] = Counters(
                    settled=row.settled,
                    accepted=max(row.accepted, row.waiting or 0),
                    last_seq=row.last_seq,
                    announced=row.announced,
                )
        return found

    def _took_effect(self, connection: sa.Connection, group: int, error: BaseException) -> bool:
        """Return whether a commit that raised an error still took effect; raise if that cannot be determined."""
        try:
            connection.rollback()
            last = connection.execute(schema.LAST_GROUP).one()
        except Exception:  # noqa: BLE001 - the first error is the one to report
            with self._mutex:
                # The database may now differ from the counters in memory.
                self._known.clear()
            if isinstance(error, Exception):
                raise to_store_error(error, self._database.name, known=False) from error
            raise error from None
        # A successor continues our group numbers: once it is the owner, a higher number proves nothing.
        return bool(last.groups >= group and last.epoch == self._epoch)

    def _settle(self, batch: WriteBatch, marks: Mapping[str, int], tickets: Sequence[Ticket[Operation]]) -> None:
        """Store the new counters in memory, and answer the tickets."""
        with self._mutex:
            for thread_id, counters in batch.counters.items():
                self._known.pop(thread_id, None)
                self._known[thread_id] = counters
            for thread_id in list(itertools.islice(self._known, max(0, len(self._known) - _MAX_KNOWN))):
                del self._known[thread_id]
            for thread_id, mark in marks.items():
                if self._marks[thread_id] == mark:
                    del self._marks[thread_id]
        for ticket in tickets:
            ticket.answered = ticket.error is None


def _insert(connection: sa.Connection, batch: WriteBatch) -> None:
    # Insert commands before dropping them: a command that was added and consumed in this group leaves nothing.
    for statement, rows in (
        (schema.ADD_COMMANDS, batch.commands),
        (schema.DROP_COMMANDS, batch.dropped),
        (schema.SAVE_THREADS, batch.threads),
        (schema.REMOVE_MESSAGES, batch.unqueued),
        (schema.SAVE_MESSAGES, batch.queued),
        (schema.SAVE_MARKS, batch.marks),
        (schema.ADD_EVENTS, batch.events),
    ):
        if rows:
            connection.execute(statement, rows)


def _fail(tickets: Sequence[Ticket[Operation]], error: StoreError) -> None:
    for ticket in tickets:
        ticket.fail(error)
