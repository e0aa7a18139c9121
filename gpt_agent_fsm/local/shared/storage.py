"""The storage of the API's objects: one SQLite table of JSON documents, in memory or in a file.

There is one connection, and each transaction holds a lock. This costs little: SQLite allows only one writer anyway, and
a transaction here lasts well below a millisecond. A database in memory exists only within its connection.
"""

import contextlib
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import StaticPool

from gpt_agent_fsm.local.shared import schema
from gpt_agent_fsm.local.shared.file_owner import FileOwner

Doc = dict[str, Any]


_STARTING = 5.0
"""Seconds that a starting server waits for another program to release its lock on the file."""

_RETRY = 1.0
"""Seconds between two attempts to remove erased objects from SQLite's log."""

_POLL = 0.25
"""Seconds between two checks whether a transaction that waits to begin must give up. It gives up if the storage is
closed, or if the caller's patience is over."""


class StorageClosedError(Exception):
    """Raised when a transaction is begun after `Storage.close`."""


class StorageBusyError(Exception):
    """Raised when another program keeps the file locked for longer than the caller can wait."""


class UnknownCursorError(Exception):
    """Raised if `after` or `before` is not the id of an object in the list."""

    def __init__(self, param: str, object_id: str) -> None:
        super().__init__(param, object_id)
        self.param = param
        self.object_id = object_id


@frozen
class PageQuery:
    """The part of a list that a client asks for: at most `limit` objects, in this `order`.

    The part begins after the object with the id `after`, and ends before the object with the id `before`.
    """

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class Transaction:
    """The operations on the stored objects within one transaction. Use `Storage.transaction` to get one."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.after_commit: list[Callable[[], object]] = []
        self.erased: bool = False

    def on_commit(self, action: Callable[[], object]) -> None:
        """Call `action` after the transaction is committed, but not if it is rolled back."""
        self.after_commit.append(action)

    def add(self, kind: str, doc: Doc, *, parent: str = "", run: str | None = None, due: float | None = None) -> None:
        """Store a new object under its `id`, as the last object of its kind and parent."""
        row = {"id": doc["id"], "kind": kind, "parent": parent, "run": run, "due": due}
        self._connection.execute(schema.INSERT, row | {"doc": msgspec.json.encode(doc)})

    def add_bytes(self, kind: str, object_id: str, content: bytes, *, parent: str) -> None:
        """Store bytes that are not a document; `get_bytes` returns them."""
        row = {"id": object_id, "kind": kind, "parent": parent, "run": None, "due": None}
        self._connection.execute(schema.INSERT, row | {"doc": content})

    def get_bytes(self, kind: str, object_id: str) -> bytes | None:
        """Return the bytes with this id and kind, or `None` if there are none."""
        found: bytes | None = self._connection.execute(schema.GET, {"an_id": object_id, "a_kind": kind}).scalar()
        return found

    def find(self, kind: str, object_id: str, parent: str = "") -> Doc | None:
        """Return the object with this id, kind and parent, or `None` if there is none."""
        found = self._connection.execute(schema.FIND, {"an_id": object_id, "a_kind": kind, "a_parent": parent}).scalar()
        return None if found is None else _decode(found)

    def get(self, kind: str, object_id: str) -> Doc | None:
        """Return the object with this id and kind under any parent, or `None` if there is none."""
        found = self._connection.execute(schema.GET, {"an_id": object_id, "a_kind": kind}).scalar()
        return None if found is None else _decode(found)

    def latest(self, kind: str, parent: str) -> Doc | None:
        """Return the object of this kind and parent that was added last, or `None` if there is none."""
        found = self._connection.execute(schema.LATEST, {"a_kind": kind, "a_parent": parent}).scalar()
        return None if found is None else _decode(found)

    def children(self, kind: str, parent: str) -> list[Doc]:
        """Return all objects of this kind and parent, oldest first."""
        return self._docs(schema.CHILDREN, {"a_kind": kind, "a_parent": parent})

    def children_before(self, kind: str, parent: str, object_id: str) -> list[Doc]:
        """Return the objects of this kind and parent that were added before `object_id`, an object of any kind.

        If there is no object with that id, return all objects of this kind and parent.
        """
        query = {"a_kind": kind, "a_parent": parent, "an_id": object_id}
        return self._docs(schema.CHILDREN_BEFORE, query)

    def history(self, thread_id: str) -> list[Doc]:
        """Return the messages and runs of a thread, oldest first."""
        return self._docs(schema.HISTORY, {"a_parent": thread_id})

    def steps_of(self, thread_id: str) -> list[Doc]:
        """Return the steps of all runs of a thread, oldest first."""
        return self._docs(schema.STEPS, {"a_parent": thread_id})

    def count_after(self, kind: str, parent: str, object_id: str) -> int:
        """Count the objects of this kind and parent that were added after `object_id`, an object of any kind."""
        query = {"a_kind": kind, "a_parent": parent, "an_id": object_id}
        return int(self._connection.execute(schema.COUNT_AFTER, query).scalar_one())

    def overdue(self, kind: str, now: float) -> list[Doc]:
        """Return all objects of this kind, under any parent, that are due at the time `now` and are not settled."""
        return self._docs(schema.DUE, {"a_time": now, "a_kind": kind})

    def save(self, doc: Doc) -> None:
        """Replace the object with the same id."""
        self._connection.execute(schema.SAVE, {"an_id": doc["id"], "a_doc": msgspec.json.encode(doc)})

    def settle(self, doc: Doc) -> None:
        """Replace the object with the same id. From now on, the object is never due."""
        self._connection.execute(schema.SETTLE, {"an_id": doc["id"], "a_doc": msgspec.json.encode(doc)})

    def soft_delete(self, object_id: str) -> None:
        """Delete the object, but remember that it existed, so that `was_there` returns True."""
        self._connection.execute(schema.SOFT_DELETE, {"an_id": object_id})

    def was_there(self, object_id: str) -> bool:
        """Return whether an object with this id was deleted by `soft_delete`."""
        return self._connection.execute(schema.KIND, {"an_id": object_id}).scalar() == "tombstone"

    def delete(self, object_id: str) -> None:
        """Delete one object."""
        self._connection.execute(schema.DELETE, {"an_id": object_id})

    def delete_children(self, kind: str, parent: str) -> None:
        """Delete all objects of this kind and parent."""
        self._connection.execute(schema.DELETE_SOME_CHILDREN, {"an_id": parent, "a_kind": kind})

    def delete_tree(self, object_id: str) -> None:
        """Delete an object, its children, and their children."""
        for statement in (schema.DELETE_GRANDCHILDREN, schema.DELETE_CHILDREN, schema.DELETE):
            self._connection.execute(statement, {"an_id": object_id})

    def erase_tree(self, object_id: str) -> None:
        """Delete an object, its children, and their children, and leave no copy of them anywhere in the file."""
        self.delete_tree(object_id)
        self.erased = True

    def containing(self, kind: str, part: bytes) -> list[Doc]:
        """Return all objects of this kind whose JSON text contains `part`; this reads the whole table."""
        return self._docs(schema.CONTAINING, {"a_kind": kind, "a_part": part})

    def page(
        self, kind: str, parent: str, query: PageQuery, *, run: str | None = None, due_by: float = math.inf
    ) -> tuple[list[Doc], bool]:
        """Return the objects of one page, and whether the list has more objects in the direction of reading.

        If `run` is given, only objects that were added with this `run` are listed. Objects that are due after `due_by`
        are left out. If the query has `before` but not `after`, the list is read backwards from the object `before`.
        Raises `UnknownCursorError`.
        """
        backwards = query.before is not None and query.after is None
        descending = (query.order == "desc") != backwards
        statement = sa.select(schema.columns.doc).where(schema.columns.parent == parent, schema.columns.kind == kind)
        if run is not None:
            statement = statement.where(schema.columns.run == run)
        if due_by < math.inf:
            statement = statement.where(schema.columns.due.is_(None) | (schema.columns.due <= due_by))
        for param, object_id in (("after", query.after), ("before", query.before)):
            if object_id is not None:
                seq = self._seq(kind, parent, param, object_id)
                higher = (param == "after") == (query.order == "asc")
                statement = statement.where(schema.columns.seq > seq if higher else schema.columns.seq < seq)
        statement = statement.order_by(schema.columns.seq.desc() if descending else schema.columns.seq).limit(
            query.limit + 1
        )
        docs = self._docs(statement)
        has_more = len(docs) > query.limit
        docs = docs[: query.limit]
        return (docs[::-1] if backwards else docs), has_more

    def _docs(self, statement: sa.Executable, query: Mapping[str, object] | None = None) -> list[Doc]:
        rows = self._connection.execute(statement, query).all()
        # All rows are read first. So if a damaged object raises here, no open statement keeps the file open.
        return [_decode(row.doc) for row in rows]

    def _seq(self, kind: str, parent: str, param: str, object_id: str) -> int:
        query = {"an_id": object_id, "a_kind": kind, "a_parent": parent}
        seq: int | None = self._connection.execute(schema.SEQ, query).scalar()
        if seq is None:
            raise UnknownCursorError(param, object_id)
        return seq


class Storage:
    """The stored objects of one server. May be used from any OS thread, but only one transaction can be open at a time.

    `path` is a file, which is created if missing, or `None` for a database in memory. Raises `DatabaseInUseError` if
    another server uses the file, and `sqlalchemy.exc.DatabaseError` if the file cannot be opened as a database.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._path = ":memory:" if path is None else os.fspath(path)
        self._resources = contextlib.ExitStack()
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=self._path),
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "timeout": _STARTING},
            # The parameters contain message texts, which do not belong in the log.
            hide_parameters=True,
        )
        sa.event.listen(engine, "connect", self._prepare)
        sa.event.listen(engine, "begin", _begin)
        self._resources.callback(engine.dispose)
        try:
            self._connection = self._resources.enter_context(engine.connect())
            with self._connection.begin():
                schema.metadata.create_all(self._connection)
                # Files of earlier versions have the table, but another index.
                schema.BY_DUE.create(self._connection, checkfirst=True)
                self._connection.exec_driver_sql("DROP INDEX IF EXISTS objects_by_due")
            # The log of a server that was killed may contain copies of erased objects.
            self._truncate_log()
            self._dbapi.execute(f"PRAGMA busy_timeout = {int(1000 * _POLL)}")
        except BaseException:
            self._resources.close()
            raise

    def _prepare(self, connection: DBAPIConnection, _record: object) -> None:
        # Python's driver begins transactions late and commits on its own. Turn this off, so that `_begin` decides.
        connection.isolation_level = None
        # Check first: nothing must be written beside a file that is not a database, or to the file of another server.
        _check_columns(connection)
        if self._path not in ("", ":memory:"):
            self._resources.enter_context(FileOwner(self._path))
        # The connection is closed before the `FileOwner`. So the next server gets the file when it is fully written.
        self._resources.callback(connection.close)
        # With these settings, a commit needs no disk flush; committed data survives a crash of the process.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Deleted data is overwritten in the file.
        connection.execute("PRAGMA secure_delete = ON")
        # A large transaction must not reach the log before its commit: its texts would stay there after a rollback.
        connection.execute("PRAGMA cache_spill = OFF")
        self._dbapi = connection

    @contextlib.contextmanager
    def transaction(self, patience: float = math.inf) -> Iterator[Transaction]:
        """Open a transaction. It is committed at the end of the `with` block, or rolled back if the block raises.

        Waits while another transaction is open, or while another program has a lock on the file. Raises
        `StorageBusyError` after `patience` seconds of waiting, and `StorageClosedError` if the storage is closed.
        """
        begun = self._begin(patience)
        try:
            with begun:
                transaction = Transaction(self._connection)
                yield transaction
            if transaction.erased or time.monotonic() >= self._truncate_at:
                self._truncate_log()
        finally:
            self._lock.release()
        for action in transaction.after_commit:
            action()

    def _begin(self, patience: float) -> sa.RootTransaction:
        """Take the lock, and begin a transaction."""
        deadline = time.monotonic() + patience
        while not self._closed:
            if self._lock.acquire(timeout=_POLL):
                try:
                    return self._begin_once()
                except BaseException as error:
                    self._lock.release()
                    if not _says_locked(error):
                        raise
            if time.monotonic() >= deadline:
                raise StorageBusyError
        raise StorageClosedError

    def _begin_once(self) -> sa.RootTransaction:
        if self._closed:
            raise StorageClosedError
        return self._connection.begin()

    def _truncate_log(self) -> None:
        """Move all changes from SQLite's log to the file, and empty the log.

        If this fails, or if another program is using the file, a later transaction tries again.
        """
        self._truncate_at = time.monotonic() + _RETRY
        with contextlib.suppress(sqlite3.OperationalError):
            [is_busy, *_] = self._dbapi.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not is_busy:
                self._truncate_at = math.inf

    def close(self) -> None:
        """Close the database. If a transaction is open, wait for its end first. May be called twice."""
        # Transactions that wait for another program's lock give up.
        self._closed = True
        with self._lock:
            self._resources.close()


def _check_columns(connection: DBAPIConnection) -> None:
    """Raise `sqlite3.DatabaseError` if the file is not a database, or if its table `objects` lacks a column."""
    if connection.execute("SELECT name FROM sqlite_master WHERE name = 'objects'").fetchone():
        connection.execute(f"SELECT {', '.join(schema.columns.keys())} FROM objects LIMIT 0").close()  # noqa: S608


def _says_locked(error: BaseException) -> bool:
    """Return whether the error says that another program has a lock on the file."""
    orig = error.orig if isinstance(error, sa.exc.OperationalError) else None
    return isinstance(orig, sqlite3.OperationalError) and orig.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _decode(doc: bytes) -> Doc:
    decoded: Doc = msgspec.json.decode(doc)
    return decoded
