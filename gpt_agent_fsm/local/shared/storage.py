"""The storage of the API's objects: one SQLite table of JSON documents, in memory or in a file.

There is one connection, and a lock around each transaction. SQLite has one writer at a time anyway, transactions here
last well below a millisecond, and an in-memory database exists only within its connection.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import StaticPool

Doc = dict[str, Any]

_metadata = sa.MetaData()
_objects = sa.Table(
    "objects",
    _metadata,
    # The order of creation: two objects made within one second have the same created_at.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    # The thread of a message or run, the run of a step, the conversation of an item, "" at the top.
    sa.Column("parent", sa.Text, nullable=False),
    # The run that made a message.
    sa.Column("run", sa.Text),
    # When an active run or response expires (seconds since 1970), or a response left its items; NULL for all others.
    sa.Column("due", sa.Float),
    sa.Column("doc", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
_columns = _objects.c
sa.Index("objects_by_parent", _columns.parent, _columns.kind, _columns.seq)
sa.Index("objects_by_due", _columns.due, sqlite_where=_columns.due.is_not(None))

# Statements are built once: building one takes longer than running it.
_INSERT = _objects.insert()
_FIND = sa.select(_columns.doc).where(
    _columns.id == sa.bindparam("an_id"),
    _columns.kind == sa.bindparam("a_kind"),
    _columns.parent == sa.bindparam("a_parent"),
)
_LATEST = (
    sa.select(_columns.doc)
    .where(_columns.parent == sa.bindparam("a_parent"), _columns.kind == sa.bindparam("a_kind"))
    .order_by(_columns.seq.desc())
    .limit(1)
)
_CHILDREN = (
    sa.select(_columns.doc)
    .where(_columns.parent == sa.bindparam("a_parent"), _columns.kind == sa.bindparam("a_kind"))
    .order_by(_columns.seq)
)
_GET = sa.select(_columns.doc).where(_columns.id == sa.bindparam("an_id"), _columns.kind == sa.bindparam("a_kind"))
_CHILDREN_BEFORE = _CHILDREN.where(
    _columns.seq < sa.select(_columns.seq).where(_columns.id == sa.bindparam("an_id")).scalar_subquery()
)
_KIND = sa.select(_columns.kind).where(_columns.id == sa.bindparam("an_id"))
_SEQ = sa.select(_columns.seq).where(
    _columns.id == sa.bindparam("an_id"),
    _columns.kind == sa.bindparam("a_kind"),
    _columns.parent == sa.bindparam("a_parent"),
)
_COUNT_AFTER = sa.select(sa.func.count()).where(
    _columns.parent == sa.bindparam("a_parent"),
    _columns.kind == sa.bindparam("a_kind"),
    _columns.seq > sa.select(_columns.seq).where(_columns.id == sa.bindparam("an_id")).scalar_subquery(),
)
_DUE = (
    sa.select(_columns.doc)
    .where(_columns.due <= sa.bindparam("a_time"), _columns.kind == sa.bindparam("a_kind"))
    .order_by(_columns.seq)
)
_SAVE = _objects.update().where(_columns.id == sa.bindparam("an_id")).values(doc=sa.bindparam("a_doc"))
_SETTLE = _SAVE.values(due=None)
_SOFT_DELETE = _objects.update().where(_columns.id == sa.bindparam("an_id")).values(kind="tombstone")
_DELETE = _objects.delete().where(_columns.id == sa.bindparam("an_id"))
_DELETE_CHILDREN = _objects.delete().where(_columns.parent == sa.bindparam("an_id"))
_DELETE_SOME_CHILDREN = _DELETE_CHILDREN.where(_columns.kind == sa.bindparam("a_kind"))
_DELETE_GRANDCHILDREN = _objects.delete().where(
    _columns.parent.in_(sa.select(_columns.id).where(_columns.parent == sa.bindparam("an_id")))
)


class StorageClosedError(Exception):
    """Raised when a transaction is begun after `Storage.close`."""


class UnknownCursorError(Exception):
    """Raised if `after` or `before` is not the id of an object in the list."""

    def __init__(self, param: str, object_id: str) -> None:
        super().__init__(param, object_id)
        self.param = param
        self.object_id = object_id


@frozen
class PageQuery:
    """The requested part of a list: at most `limit` objects, after (or before) the one with that id."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class Transaction:
    """The operations on the objects within a transaction; created by `Storage.transaction` only."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.after_commit: list[Callable[[], object]] = []

    def on_commit(self, action: Callable[[], object]) -> None:
        """Call `action` after the transaction is committed, but not if it is rolled back."""
        self.after_commit.append(action)

    def add(self, kind: str, doc: Doc, *, parent: str = "", run: str | None = None, due: float | None = None) -> None:
        """Store a new object under its `id`, as the last one of its list."""
        row = {"id": doc["id"], "kind": kind, "parent": parent, "run": run, "due": due}
        self._connection.execute(_INSERT, row | {"doc": msgspec.json.encode(doc)})

    def find(self, kind: str, object_id: str, parent: str = "") -> Doc | None:
        """Return the object, or `None` if there is none with this kind and parent."""
        found = self._connection.execute(_FIND, {"an_id": object_id, "a_kind": kind, "a_parent": parent}).scalar()
        return None if found is None else _decode(found)

    def get(self, kind: str, object_id: str) -> Doc | None:
        """Return the object, or `None` if there is none of this kind under any parent."""
        found = self._connection.execute(_GET, {"an_id": object_id, "a_kind": kind}).scalar()
        return None if found is None else _decode(found)

    def latest(self, kind: str, parent: str) -> Doc | None:
        """Return the object of this kind that was added last to its parent."""
        found = self._connection.execute(_LATEST, {"a_kind": kind, "a_parent": parent}).scalar()
        return None if found is None else _decode(found)

    def children(self, kind: str, parent: str) -> list[Doc]:
        """Return all objects of this kind and parent, oldest first."""
        rows = self._connection.execute(_CHILDREN, {"a_kind": kind, "a_parent": parent})
        return [_decode(row.doc) for row in rows]

    def children_before(self, kind: str, parent: str, object_id: str) -> list[Doc]:
        """Return all objects of this kind and parent that were added before the one with that id (of any kind)."""
        query = {"a_kind": kind, "a_parent": parent, "an_id": object_id}
        return [_decode(row.doc) for row in self._connection.execute(_CHILDREN_BEFORE, query)]

    def count_after(self, kind: str, parent: str, object_id: str) -> int:
        """Count the objects of this kind and parent that were added after the one with that id (of any kind)."""
        query = {"a_kind": kind, "a_parent": parent, "an_id": object_id}
        return int(self._connection.execute(_COUNT_AFTER, query).scalar_one())

    def overdue(self, kind: str, now: float) -> list[Doc]:
        """Return all objects of this kind, under any parent, that have expired and are not settled."""
        return [_decode(row.doc) for row in self._connection.execute(_DUE, {"a_time": now, "a_kind": kind})]

    def save(self, doc: Doc) -> None:
        """Replace the object with the same id."""
        self._connection.execute(_SAVE, {"an_id": doc["id"], "a_doc": msgspec.json.encode(doc)})

    def settle(self, doc: Doc) -> None:
        """Replace the object with the same id, and exempt it from expiry."""
        self._connection.execute(_SETTLE, {"an_id": doc["id"], "a_doc": msgspec.json.encode(doc)})

    def soft_delete(self, object_id: str) -> None:
        """Delete the object, but remember that it existed; see `was_there`."""
        self._connection.execute(_SOFT_DELETE, {"an_id": object_id})

    def was_there(self, object_id: str) -> bool:
        """Return whether an object with this id was deleted by `soft_delete`."""
        return self._connection.execute(_KIND, {"an_id": object_id}).scalar() == "tombstone"

    def delete(self, object_id: str) -> None:
        """Delete one object."""
        self._connection.execute(_DELETE, {"an_id": object_id})

    def delete_children(self, kind: str, parent: str) -> None:
        """Delete all objects of this kind and parent."""
        self._connection.execute(_DELETE_SOME_CHILDREN, {"an_id": parent, "a_kind": kind})

    def delete_tree(self, object_id: str) -> None:
        """Delete an object, its children, and their children."""
        for statement in (_DELETE_GRANDCHILDREN, _DELETE_CHILDREN, _DELETE):
            self._connection.execute(statement, {"an_id": object_id})

    def page(
        self, kind: str, parent: str, query: PageQuery, *, run: str | None = None, due_by: float = math.inf
    ) -> tuple[list[Doc], bool]:
        """Return the objects of one page, and whether there are more beyond it in the direction of reading.

        With `run`, only objects that this run made are listed. Objects that are due after `due_by` are left out. With
        `before` and without `after`, the page ends just before that object. Raises `UnknownCursorError`.
        """
        backwards = query.before is not None and query.after is None
        descending = (query.order == "desc") != backwards
        statement = sa.select(_columns.doc).where(_columns.parent == parent, _columns.kind == kind)
        if run is not None:
            statement = statement.where(_columns.run == run)
        if due_by < math.inf:
            statement = statement.where(_columns.due.is_(None) | (_columns.due <= due_by))
        for param, object_id in (("after", query.after), ("before", query.before)):
            if object_id is not None:
                seq = self._seq(kind, parent, param, object_id)
                higher = (param == "after") == (query.order == "asc")
                statement = statement.where(_columns.seq > seq if higher else _columns.seq < seq)
        statement = statement.order_by(_columns.seq.desc() if descending else _columns.seq).limit(query.limit + 1)
        docs = [_decode(row.doc) for row in self._connection.execute(statement)]
        has_more = len(docs) > query.limit
        docs = docs[: query.limit]
        return (docs[::-1] if backwards else docs), has_more

    def _seq(self, kind: str, parent: str, param: str, object_id: str) -> int:
        query = {"an_id": object_id, "a_kind": kind, "a_parent": parent}
        seq: int | None = self._connection.execute(_SEQ, query).scalar()
        if seq is None:
            raise UnknownCursorError(param, object_id)
        return seq


class Storage:
    """The objects of one server. May be used from any OS thread; a transaction blocks the others while it is open.

    `path` is a file, which is created if missing, or `None` for a database in memory. Raises
    `sqlalchemy.exc.DatabaseError` when the file cannot be opened as a database.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=":memory:" if path is None else os.fspath(path)),
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
            # The parameters contain message texts, which do not belong in the log.
            hide_parameters=True,
        )
        sa.event.listen(self._engine, "connect", _prepare_connection)
        sa.event.listen(self._engine, "begin", _begin)
        try:
            self._connection = self._engine.connect()
            with self._connection.begin():
                _metadata.create_all(self._connection)
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction: committed at the end of the block, rolled back when it raises.

        Raises `StorageClosedError` when the storage is closed.
        """
        with self._lock:
            if self._closed:
                raise StorageClosedError
            with self._connection.begin():
                transaction = Transaction(self._connection)
                yield transaction
        for action in transaction.after_commit:
            action()

    def close(self) -> None:
        """Close the database, after the transaction that is open. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()
                self._engine.dispose()


def _prepare_connection(connection: DBAPIConnection, _record: object) -> None:
    # Python's driver begins transactions late and commits on its own; off, so that the BEGIN below decides.
    connection.isolation_level = None
    # A commit then needs no disk flush; committed data survives a crash of the process.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _decode(doc: bytes) -> Doc:
    decoded: Doc = msgspec.json.decode(doc)
    return decoded
