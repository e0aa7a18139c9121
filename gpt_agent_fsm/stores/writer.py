"""Writes a group of operations in one transaction, or each in its own where together they fail."""

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
"""Of how many threads the counters are kept in memory: some 30 megabytes."""
_MAX_LOOKUP = 500


class Writer:
    """The one that writes. It alone changes the database, so it knows every counter that it has seen once.

    Args:
        epoch: ours; with another one in the database, somebody else writes now.
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

    # --- from any thread -------------------------------------------------------------------------------------

    def marks(self) -> Mapping[str, int]:
        """Return what was announced and is not written down yet: the last record's number per thread."""
        with self._mutex:
            return dict(self._marks)

    def note(self, thread_id: str, seq: int) -> bool:
        """Note what was announced, to be written with the next group; True where it should be written now."""
        with self._mutex:
            counters = self._known.get(thread_id)
            if counters is None:
                return True
            mark = min(seq, counters.last_seq)
            if mark <= max(counters.announced, self._marks.get(thread_id, 0)):
                return False
            self._marks[thread_id] = mark
            return counters.settled and mark == counters.last_seq

    # --- from one thread at a time ---------------------------------------------------------------------------

    def write(self, tickets: Sequence[Ticket[Operation]]) -> None:
        """Answer all tickets: durable, or with an error of its own."""
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
        except Exception as error:  # noqa: BLE001 - handed to those who wait
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
                    f"Another process has taken over {self._database.name}; this one writes no more. "
                    "Let only one be open for writing."
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
        """Return what is known of the threads, having looked up the ones not seen before."""
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
        """Find out whether a commit that failed was nevertheless kept; raises where that cannot be found out."""
        try:
            connection.rollback()
            last = connection.execute(schema.LAST_GROUP).one()
        except Exception:  # noqa: BLE001 - the first error is the one to tell
            with self._mutex:
                # What is in the database now may differ from what we remember.
                self._known.clear()
            if isinstance(error, Exception):
                raise to_store_error(error, self._database.name, known=False) from error
            raise error from None
        # The groups of a successor go on from ours: once it is the owner, a higher number proves nothing.
        return bool(last.groups >= group and last.epoch == self._epoch)

    def _settle(self, batch: WriteBatch, marks: Mapping[str, int], tickets: Sequence[Ticket[Operation]]) -> None:
        """Remember what is in the database now, and answer."""
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
    # Commands before those that are dropped: one that came and was taken up within this group leaves nothing.
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
