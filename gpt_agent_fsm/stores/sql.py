"""A store in a SQL database: a SQLite file, or PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError, explains_keywords
from gpt_agent_fsm.events import Event
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.queue import EMPTY, NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved, ThreadRow, Usage, oldest_kept
from gpt_agent_fsm.stores import codec, migrations, schema
from gpt_agent_fsm.stores.direct import Row
from gpt_agent_fsm.stores.engine import open_database
from gpt_agent_fsm.stores.group import GroupCommit
from gpt_agent_fsm.stores.holder import Holder
from gpt_agent_fsm.stores.rows import by_thread, check_numbers, outline_of, record_of, saved_of
from gpt_agent_fsm.stores.store_errors import as_store_error
from gpt_agent_fsm.stores.write_batch import Accept, Announce, ClaimKey, Commit, Flush, Forget, Operation
from gpt_agent_fsm.stores.writer import Writer

__all__ = ["SQLStore"]

log: Log = get_logger(__name__)

_MAX_GROUP = 1000
_HIGHEST = 2**63 - 1
_FORGET_AT_ONCE = 500
"""The largest number of threads whose records one transaction deletes, so that other calls do not wait for long."""
_GRACE = 1.0
"""The seconds that a caller waits after the timeout. In this time, the transaction may still raise a better error."""


@explains_keywords
class SQLStore:
    """Keeps threads in a database. When `accept` or `commit` returns, its data survives a crash and a power failure.

    Opening a store creates missing tables and takes the database over. If another store was opened for the same
    database before, in this process or another, that store can no longer write and raises `StoreTaken`. So there is
    only one owner at a time. Even a process that seemed dead but still lives can do no harm. `holder` returns the
    owner. A `read_only` store takes nothing over and creates nothing.

    The store writes the waiting calls of many OS threads as a group in one transaction. So a thousand conversations do
    not need a thousand flushes of the disk. If one operation of a group fails, the others still succeed.

    The store also saves the number of each thread's last announced record. If the thread is at rest, the store saves
    the number immediately. Otherwise, the number is saved with the next group of calls, or by `close`. So after a
    crash, the next process may announce some records again, and handlers see each record at least once.

    Every method may be called from any OS thread, and from the handler of an operating system signal. If the database
    fails, a method raises `StoreError` with advice. The store works again when the cause is fixed.

    A call that raises `StoreError` has changed nothing, except in two cases. First, if the connection breaks during a
    commit or the database does not answer, it may be unknown whether the call took effect. The error says so. If you
    repeat a commit, it takes effect only once. If a call with an unknown outcome has saved a command, the store deletes
    the command when the database answers again, because the caller got an error. Second, `prune` deletes the history of
    500 threads per transaction, so it may have deleted a part of the history before it failed.

    If the process forks, `close` does nothing in the child, and every other method raises `UsedAfterFork` there.

    Args:
        url: `sqlite:///agents.db`, `sqlite://` for memory, or `postgresql://user:password@host/database`.
        timeout: the seconds that a call may take, including `close`, if the database does not answer. While a store is
            being opened, this is the limit for each statement, so opening may take longer. If a SQLite file hangs
            during a read, the store does not notice it.
        lock_timeout: the part of `timeout` that a call may wait for a lock that another program holds.
        read_only: True to read while another process owns the database.
        check_holder: if the database has a holder, this function is called with it, in the transaction that takes the
            database over. If the function raises `StoreError`, the holder keeps the database, and nothing changes.
    """

    commits_announced: bool = True
    """See `Store`."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 20.0,
        lock_timeout: float = 5.0,
        read_only: bool = False,
        check_holder: Callable[[Holder], object] | None = None,
    ) -> None:
        self._origin = Origin("SQLStore")
        limits = _seconds("timeout", timeout), _seconds("lock_timeout", lock_timeout)
        self._database = open_database(url, *limits, read_only=read_only)
        self._read_only = read_only
        self._closed = False
        # A database in memory has only one connection, so reading and writing take turns.
        self._turn: AbstractContextManager[Any] = threading.RLock() if self._database.in_memory else nullcontext()
        try:
            with as_store_error(self._database.name):
                epoch = self._open_read_only() if read_only else self._take_over(check_holder)
        except BaseException:
            self._database.dispose()
            raise
        self._epoch = epoch
        self._writer = Writer(self._database, epoch, self._turn)
        self._group = None if read_only else GroupCommit(self._writer.write, _MAX_GROUP, timeout + _GRACE)

    def __repr__(self) -> str:
        return f"<SQLStore of {self._database.name}>"

    @property
    def ends_with_process(self) -> bool:
        """True for a SQLite database in memory, which ends with the process."""
        return self._database.in_memory

    def _exists(self) -> bool:
        with self._database.reading.connect() as connection:
            return schema.check(connection)

    def _open_read_only(self) -> int:
        name = self._database.name
        if not self._database.is_there():
            raise StoreError(f"There is no file of {name}; check the path. Opening it for writing creates it.")
        if not self._exists():
            raise StoreError(f"There is no store in {name}; check the name. Opening one for writing creates it.")
        with self._database.reading.connect() as connection:
            if schema.is_older(connection):
                raise StoreError(
                    f"{name} was written by an older version of gpt-agent-fsm. Start the program that owns it once "
                    "with this version: a store that may write migrates it."
                )
        return 0

    def _take_over(self, check_holder: Callable[[Holder], object] | None) -> int:
        """Create or migrate the tables, take the database over, and return this store's epoch."""
        exists = self._exists()
        schema.prefer_log(self._database.writing)
        with self._database.writing.begin() as connection:
            if not exists:
                schema.create(connection)
            migrations.bring_up_to_date(connection)
            if check_holder is not None and (holder := schema.current_holder(connection)) is not None:
                check_holder(holder)
            return schema.take_over(connection)

    # --- writing -------------------------------------------------------------------------------------------

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`. Raises `StoreError` for a thread that was never committed."""
        operation = Accept(thread_id=thread_id, command=codec.encode_command(command))
        self._do(operation)
        return operation.number

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
        announced: bool = False,
    ) -> Sequence[Record]:
        """See `Store.commit`."""
        operation = Commit(
            thread_id=snapshot.thread_id,
            snapshot=codec.encode_snapshot(snapshot),
            settled=snapshot.settled,
            consumed=consumed,
            events=[codec.encode_event(event) for event in events],
            at=at,
            due=due,
            removed=queue.removed,
            written=[(number, codec.encode_message(message)) for number, message in queue.written],
            announced=announced,
        )
        self._do(operation)
        first = operation.last_seq - len(events) + 1
        return [Record(seq=seq, at=operation.at, event=event) for seq, event in enumerate(events, first)]

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`. The docstring of this class says when the number is saved.

        Ignores an unknown thread.
        """
        self._origin.check()
        if self._writer.note(thread_id, seq):
            self._do(Announce(thread_id=thread_id, seq=seq))

    def claim_key(self, key: str, thread_id: str) -> str:
        """See `KeyedStore.claim_key`."""
        self._do(ClaimKey(thread_id=thread_id, key=key))
        return self.find(key) or thread_id

    def prune(self, older_than: float | timedelta) -> int:
        """See `PrunableStore.prune`. The file of a SQLite database does not shrink; new data reuses the space."""
        until = oldest_kept(older_than, time.time())
        # Every operation also saves the numbers of the last announced records. So after this operation, the database
        # knows which records were announced.
        self._do(Forget(first_kept={}))
        with self._reading() as (connection, _):
            found = [
                (row.thread_id, row.first_kept) for row in connection.execute(schema.OLD_RECORDS, {"until": until})
            ]
        forgotten = 0
        for start in range(0, len(found), _FORGET_AT_ONCE):
            operation = Forget(first_kept=dict(found[start : start + _FORGET_AT_ONCE]))
            self._do(operation)
            forgotten += operation.forgotten
        return forgotten

    def _do(self, operation: Operation) -> None:
        self._origin.check()
        self._check_open()
        if self._group is None:
            raise StoreError("This store was opened with read_only=True; open it without read_only to write.")
        self._group.do(operation)

    # --- reading ---------------------------------------------------------------------------------------------

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        with self._reading() as (connection, marks):
            of_thread, every = {"of_thread": thread_id}, self._database.statements.all
            rows = every(connection, schema.THREAD, of_thread)
            if not rows:
                return None
            row = rows[0]
            queue = every(connection, schema.QUEUE, of_thread)
            commands = every(connection, schema.INBOX, of_thread)
            check_numbers(row)
            announced = max(row["announced"], marks.get(thread_id, 0))
            records: Sequence[Row] = ()
            if announced < row["last_seq"]:
                records = every(connection, schema.HISTORY, {**of_thread, "after": announced})
        return saved_of(row, queue, commands, records)

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        return self._records(schema.HISTORY, thread_id, after)

    def history_page(self, thread_id: str, *, after: int, limit: int, newest: bool = False) -> Sequence[Record]:
        """See `PagingStore.history_page`."""
        statement = schema.NEWEST_RECORDS if newest else schema.FIRST_RECORDS
        page = self._records(statement, thread_id, after, limit=min(limit, _HIGHEST))
        return page[::-1] if newest else page

    def _records(self, statement: sa.Select[Any], thread_id: str, after: int, **more: int) -> Sequence[Record]:
        with self._reading() as (connection, _):
            query = {"of_thread": thread_id, "after": min(max(after, 0), _HIGHEST), **more}
            rows = self._database.statements.all(connection, statement, query)
        # The rows are decoded only now. If a damaged row raised an error earlier, a statement would stay open, and the
        # file could not be closed properly.
        return [record_of(row) for row in rows]

    def find(self, key: str) -> str | None:
        """See `KeyedStore.find`."""
        with self._reading() as (connection, _):
            if self._read_only and not schema.has_keys(connection):
                return None
            thread_id: str | None = connection.execute(schema.KEY, {"of_key": key}).scalar_one_or_none()
            return thread_id

    def usage(self) -> Usage:
        """See `CountingStore.usage`. Blocks while the database reads all threads."""
        with self._reading() as (connection, _):
            row = connection.execute(schema.usage_of(connection.dialect.name)).one()
        return Usage(**{name: int(count or 0) for name, count in row._mapping.items()})

    def threads(self) -> Sequence[ThreadRow]:
        """See `ListingStore.threads`. This takes three statements for any number of threads."""
        with self._reading() as (connection, _):
            rows = connection.execute(schema.LIST_THREADS).all()
            queues = {row.thread_id: row for row in connection.execute(schema.LIST_QUEUES)}
            commands = {row.thread_id: row.commands for row in connection.execute(schema.LIST_COMMANDS)}
        found = []
        for thread_id, snapshot, kind, at in rows:
            messages = queues.get(thread_id)
            queue = EMPTY if messages is None else outline_of(messages.messages, in_doubt=bool(messages.in_doubt))
            try:
                decoded = codec.decode_snapshot(snapshot, queue)
            except StoreError as error:
                log.error("%s is not listed: %s", thread_id, error)  # noqa: TRY400 - the sentence says it all
                continue
            waiting = commands.get(thread_id, 0)
            found.append(ThreadRow(snapshot=decoded, last_event=kind, last_event_at=at, commands=waiting))
        return found

    def mark(self) -> Hashable:
        """See `MarkedStore.mark`. It counts the transactions of all owners."""
        with self._reading() as (connection, _):
            return tuple(connection.execute(schema.MARK).one())

    def thread_marks(self) -> Mapping[str, Hashable]:
        """See `MarkedStore.thread_marks`. This takes two statements for any number of threads."""
        with self._reading() as (connection, _):
            rows = connection.execute(schema.LIST_MARKS).all()
            commands = {row.thread_id: row.commands for row in connection.execute(schema.LIST_COMMANDS)}
        return {row.thread_id: (row.last_seq, row.accepted, commands.get(row.thread_id, 0)) for row in rows}

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`.

        The time of a call depends on the number of unfinished threads, not on all threads.
        """
        with self._reading() as (connection, marks):
            every = self._database.statements.all
            threads = every(connection, schema.UNFINISHED_THREADS)
            queues = by_thread(every(connection, schema.UNFINISHED_QUEUES))
            commands = by_thread(every(connection, schema.UNFINISHED_INBOX))
            records = by_thread(every(connection, schema.UNFINISHED_RECORDS))
        found = {}
        for row in threads:
            thread_id = row["thread_id"]
            try:
                check_numbers(row)
                saved = saved_of(
                    row, queues[thread_id], commands[thread_id], records[thread_id], marks.get(thread_id, 0)
                )
            except StoreError as error:
                # One damaged thread must not prevent the other threads from continuing.
                log.error("%s is not resumed: %s", thread_id, error)  # noqa: TRY400 - the sentence says it all
                continue
            if saved.inbox or saved.unannounced or not saved.snapshot.settled:
                found[thread_id] = saved
        return found

    def holder(self) -> Holder | None:
        """Return the process that holds the database. Return None if no process holds it.

        The process may have died without closing its store. The result is also None if an older version of the library
        has opened the database last, because older versions do not record the process.
        """
        with self._reading() as (connection, _):
            return schema.current_holder(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that reads one consistent state. Errors are raised as `StoreError`."""
        with self._reading() as (connection, _):
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[sa.Connection, Mapping[str, int]]]:
        """Yield a connection that reads one consistent state, and the marks that are not saved yet.

        A mark is the number of a thread's last announced record; see `Writer.marks`.
        """
        with self._calling():
            # The marks are read first. So a mark that is saved between the two reads is seen twice, but never missed.
            marks = self._writer.marks()
            with self._database.reading.connect() as connection:
                connection.begin()
                yield connection, marks
                if self._closed:
                    # The connection's pool was closed while the connection was in use.
                    connection.invalidate()

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Limit the time of a call that reads, and turn its errors into `StoreError`."""
        self._origin.check()
        with self._turn, self._database.limit, as_store_error(self._database.name):
            self._check_open()
            yield

    # --- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """See `Store.close`. Raises `StoreError` if the last announcements could not be saved."""
        if self._origin.was_forked or self._closed:
            return
        try:
            if self._group is not None:
                self._group.do(Flush())
        finally:
            self._closed = True
            if self._group is not None:
                self._group.end()
            with self._turn:
                self._database.dispose()

    def is_owned(self) -> bool:
        """Return whether this store still owns the database. If the database does not answer, return False.

        The engine calls this method immediately before a request that changes the server. It blocks for one query.
        """
        try:
            with self._calling(), self._database.to_ask() as connection:
                return bool(self._database.statements.scalar(connection, schema.EPOCH, {}) == self._epoch)
        except StoreError:
            return False

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("This store was closed; make a new one.")


def _seconds(name: str, value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= threading.TIMEOUT_MAX
    if not good:
        raise ValueError(f"SQLStore: {name} must be a positive number of seconds, not {value!r}")
    return float(value)  # type: ignore[arg-type]
