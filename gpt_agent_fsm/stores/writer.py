"""Writes a group of operations in one transaction, or in separate ones if an operation makes the group fail."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import attrs
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.stores import schema
from gpt_agent_fsm.stores.engine import Database
from gpt_agent_fsm.stores.group import Ticket
from gpt_agent_fsm.stores.store_errors import OUTCOME_UNKNOWN, concerns_one_operation, to_store_error
from gpt_agent_fsm.stores.write_batch import Accept, Commit, Counters, Flush, Forget, Operation, WriteBatch

__all__ = ["Writer"]

_MAX_KNOWN = 100_000
"""The largest number of threads whose counters are kept in memory. The counters of so many threads take about 30 MB."""
_MAX_LOOKUP = 500


@attrs.frozen
class _Doubt:
    """A transaction that may have taken effect, and its operations."""

    group: int
    operations: Sequence[Operation]


class Writer:
    """The only writer of the database. Nobody else writes, so counters that were read once stay valid in memory.

    Each transaction has a number. If the outcome of a transaction is unknown, the next transaction sees whether the
    number was used. If it was used, the earlier transaction took effect although its callers got an error. In this
    case, its commits are recognised when they are repeated. Its commands are deleted, because a repeated command gets
    another number.

    Args:
        epoch: the epoch of this store. If the database has another epoch, another process has taken the database over.
        turn: the lock that is held during a transaction.
    """

    def __init__(self, database: Database, epoch: int, turn: AbstractContextManager[Any]) -> None:
        self._database = database
        self._statements = database.statements
        self._epoch = epoch
        self._turn = turn
        self._mutex = threading.Lock()
        self._known: dict[str, Counters] = {}
        self._marks: dict[str, int] = {}
        self._doubt: _Doubt | None = None
        self._landed: dict[str, Commit] = {}
        """For each thread, its last commit that took effect although the caller got an error."""
        self._withdrawn: list[Accept] = []
        """Commands that were saved although their callers got an error. They must be deleted."""
        self._closed = False

    # --- from any OS thread -------------------------------------------------------------------------------------

    def marks(self) -> Mapping[str, int]:
        """Return the marks that are not saved yet, by thread.

        A mark is the number of a thread's last announced record.
        """
        # Copying a dict is atomic. A lock would be dangerous: the handler of an operating system signal may interrupt a
        # reader that holds the lock, and need it.
        return dict(self._marks)

    def note(self, thread_id: str, seq: int) -> bool:
        """Remember a thread's mark: the number of its last announced record. Return whether to save the mark now.

        Otherwise the next group of operations saves it.
        """
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
        """Write the operations of all tickets.

        After that, each ticket is either answered or has an error of its own.
        """
        ends = any(isinstance(ticket.operation, Flush) for ticket in tickets)
        if self._closed:
            _fail(tickets, StoreError("This store was closed; make a new one."))
        elif (error := self._attempt(tickets)) is not None:
            if len(tickets) > 1 and concerns_one_operation(error):
                self._write_singly(tickets)
            else:
                _fail(tickets, to_store_error(error, self._database.name))
        elif ends:
            self._let_go()
        self._closed = self._closed or ends

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
        idle = not marks and self._doubt is None and not self._withdrawn
        if idle and all(isinstance(ticket.operation, Flush) for ticket in tickets):
            self._settle(WriteBatch({}, {}), marks, tickets)
            return
        with self._turn, self._database.limit, self._database.to_write() as connection:
            connection.begin()
            group = self._statements.scalar(connection, schema.NEXT_GROUP, {"our_epoch": self._epoch})
            if group is None:
                raise self._taken(connection)
            self._resolve(group)
            withdrawn = len(self._withdrawn)
            batch = self._batch(connection, tickets, marks)
            self._insert(connection, batch)
            for ticket in tickets:
                if isinstance(ticket.operation, Forget):
                    _forget(connection, ticket.operation)
            if withdrawn:
                rows = [{"of_thread": command.thread_id, "at": command.number} for command in self._withdrawn]
                connection.execute(schema.WITHDRAW_COMMANDS, rows)
            self._commit(connection, _Doubt(group, [each.operation for each in tickets if each.error is None]))
        del self._withdrawn[:withdrawn]
        self._settle(batch, marks, tickets)

    def _taken(self, connection: sa.Connection) -> StoreTaken:
        holder = schema.last_holder(connection)
        who = "" if holder is None else f" ({holder[0]})"
        is_here = holder is not None and holder[0].is_here
        taker = "A newer store of this process" if is_here else "Another process"
        return StoreTaken(
            f"{taker} has taken over {self._database.name}{who}; "
            "this one can no longer write. Open only one store for writing. Several processes can share a PostgreSQL "
            "database with gpt_agent_fsm.cluster.Cluster."
        )

    def _let_go(self) -> None:
        """Record in the database that no process holds the store now.

        If this fails, the database still names the last holder.
        """
        limit, to_write = self._database.limit, self._database.to_write
        with contextlib.suppress(Exception), self._turn, limit, to_write() as connection:
            connection.execute(schema.LET_GO, {"our_epoch": self._epoch})
            connection.commit()

    # --- transactions with an unknown outcome -------------------------------------------------------------------

    def _commit(self, connection: sa.Connection, transaction: _Doubt) -> None:
        try:
            connection.commit()
        except Exception as error:
            try:
                connection.rollback()
                last = connection.execute(schema.LAST_GROUP).one()
            except Exception:  # noqa: BLE001 - the first error is the one to report
                self._doubt = transaction
                with self._mutex:
                    # The database may now differ from the counters in memory.
                    self._known.clear()
                raise to_store_error(error, self._database.name, OUTCOME_UNKNOWN) from error
            # The next owner of the database continues the group numbers. From then on, a higher number proves nothing.
            if last.groups < transaction.group or last.epoch != self._epoch:
                raise

    def _resolve(self, group: int) -> None:
        """Find out whether the transaction with the unknown outcome took effect.

        `group` is the current transaction's number.
        """
        if self._doubt is not None and group > self._doubt.group:
            for operation in self._doubt.operations:
                self._disown(operation)
        self._doubt = None

    def _disown(self, operation: Operation) -> None:
        """Note that an operation took effect although its caller got an error."""
        if isinstance(operation, Commit):
            self._landed[operation.thread_id] = operation
        elif isinstance(operation, Accept):
            self._withdrawn.append(operation)

    # --- the parts of a transaction -----------------------------------------------------------------------------

    def _batch(
        self, connection: sa.Connection, tickets: Sequence[Ticket[Operation]], marks: Mapping[str, int]
    ) -> WriteBatch:
        operations = [ticket.operation for ticket in tickets]
        touched = {each.thread_id for each in operations if not isinstance(each, Flush | Forget)}
        batch = WriteBatch(self._counters(connection, touched | marks.keys()), self._landed)
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
        """Return the counters of the threads. Counters that are not in memory are read from the database."""
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

    def _insert(self, connection: sa.Connection, batch: WriteBatch) -> None:
        # Commands are added before consumed commands are dropped. So a command that this group both adds and consumes
        # leaves no row.
        for statement, rows in (
            (schema.ADD_COMMANDS, batch.commands),
            (schema.DROP_COMMANDS, batch.dropped),
            (schema.SAVE_THREADS, batch.threads),
            (schema.REMOVE_MESSAGES, batch.unqueued),
            (schema.SAVE_MESSAGES, batch.queued),
            (schema.SAVE_MARKS, batch.marks),
            (schema.ADD_EVENTS, batch.events),
            (schema.CLAIM_KEYS, batch.keys),
        ):
            if rows:
                self._statements.run(connection, statement, rows)

    def _settle(self, batch: WriteBatch, marks: Mapping[str, int], tickets: Sequence[Ticket[Operation]]) -> None:
        """Keep the new counters in memory, and answer the tickets."""
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
            operation = ticket.operation
            if ticket.error is not None:
                continue
            if isinstance(operation, Commit):
                self._landed.pop(operation.thread_id, None)
            if not ticket.answer():
                self._disown(operation)


def _forget(connection: sa.Connection, operation: Forget) -> None:
    operation.forgotten = sum(
        connection.execute(schema.FORGET, {"of_thread": thread_id, "first_kept": first_kept}).rowcount
        for thread_id, first_kept in operation.first_kept.items()
    )


def _fail(tickets: Sequence[Ticket[Operation]], error: StoreError) -> None:
    for ticket in tickets:
        ticket.fail(error)
