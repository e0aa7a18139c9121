"""Makes a SQLAlchemy engine for a URL, and configures it so that commits survive a power failure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool, StaticPool

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.direct import Direct, Statements
from gpt_agent_fsm.stores.kept import Kept
from gpt_agent_fsm.stores.limit import Limit

__all__ = ["READERS", "Database", "open_database", "with_defaults"]

READERS = 4
"""How many OS threads read at the same time. The writer has a separate connection."""

_POSTGRESQL_DEFAULTS = {
    "connect_timeout": "10",
    # If the network drops packets, a wait ends after this many milliseconds. The system's default is a quarter of an
    # hour.
    "tcp_user_timeout": "30000",
    "application_name": "gpt-agent-fsm",
    "client_encoding": "UTF8",  # else it may come from the environment
}


@attrs.frozen(kw_only=True)
class Database:
    """A database: engines for writing, for reading a consistent state and for asking, and a name without secrets.

    Attributes:
        in_memory: True for a database in memory, whose single connection is shared by all callers in turns.
        limit: the limit of the time that the database may take.
        kept: for a SQLite file, the connections that are kept between calls: those that write, and those that ask
            one question. None for other databases.
        statements: runs the statements.
    """

    writing: sa.Engine
    reading: sa.Engine
    asking: sa.Engine
    name: str
    in_memory: bool
    limit: Limit
    kept: tuple[Kept, Kept] | None = None
    statements: Statements = attrs.field(factory=Statements)

    def to_write(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection for one transaction."""
        return self.writing.connect() if self.kept is None else self.kept[0].connection()

    def to_ask(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection for one query, which needs no transaction."""
        return self.asking.connect() if self.kept is None else self.kept[1].connection()

    def dispose(self) -> None:
        """Close all connections that are not in use."""
        for kept in self.kept or ():
            kept.close()
        self.reading.dispose()
        self.writing.dispose()

    def is_there(self) -> bool:
        """Return False if the database is a SQLite file that does not exist. Connecting would create the file."""
        url = self.writing.url
        on_disk = url.get_backend_name() == "sqlite" and not self.in_memory and "uri" not in url.query
        return not on_disk or Path(str(url.database)).exists()


def open_database(
    url: str,
    timeout: float,
    lock_timeout: float,
    *,
    writers: int = 1,
    idle_timeout: float | None = None,
    read_only: bool = False,
) -> Database:
    """Return the database at a URL, but do not connect to it yet.

    With `read_only`, a SQLite file on a read-only disk is read as it is, because SQLite cannot make its other files
    there.
    `writers` is how many transactions may write at once. `idle_timeout` is after how many seconds PostgreSQL ends a
    transaction of a program that says nothing; by default, it is `timeout`.

    Raises `StoreError` for the URL of an unsupported database, and `ImportError` if the driver is not installed.
    """
    parsed, limit = _parse(url), Limit(timeout)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, limit, lock_timeout, read_only=read_only)
    return _open_postgresql(parsed, limit, lock_timeout, writers, timeout if idle_timeout is None else idle_timeout)


def _parse(url: str) -> sa.URL:
    # The parser's own errors are not chained, because they quote the URL with its password.
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed is None or parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(
            "This is not a URL of a database that SQLStore supports; write it like sqlite:///agents.db or "
            "postgresql://user:password@host/database."
        )
    return parsed


def _open_sqlite(url: sa.URL, limit: Limit, lock_timeout: float, *, read_only: bool) -> Database:
    if url.host:
        path = "/".join(filter(None, (url.host, url.database)))
        raise StoreError(f"The URL of a SQLite file has three slashes: sqlite:///{path}")
    try:
        url.get_dialect()().create_connect_args(url)
    except ValueError:
        names = ", ".join(url.query)
        raise StoreError(f"A parameter in the URL of the database has a wrong value ({names}).") from None
    name = f"the SQLite database {url.database}"
    if read_only and _is_unchangeable(url):
        query = {"uri": "true", "mode": "ro", "immutable": "1"}
        url = url.set(database=f"file:{quote(str(url.database))}").update_query_dict(query)
    in_memory = url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    # `timeout` is SQLite's busy_timeout. One OS thread at a time uses a connection.
    options = {"connect_args": {"check_same_thread": False, "timeout": lock_timeout}, "hide_parameters": True}
    kept = None
    if in_memory:
        writing = sa.create_engine(url, poolclass=StaticPool, **options)
        reading = asking = sa.create_engine(url, pool=writing.pool, **options)
    else:
        writing = sa.create_engine(url, **_pool(1, limit), **options)
        reading = sa.create_engine(url, **_pool(READERS, limit), **options)
        asking = sa.create_engine(url, poolclass=NullPool, **options)
        sa.event.listen(asking, "connect", _prepare_sqlite)
        kept = Kept(writing), Kept(asking)
    for engine in {writing.pool: writing, reading.pool: reading}.values():
        sa.event.listen(engine, "connect", _prepare_sqlite)
    direct = Direct(writing.dialect)
    # If a transaction first reads and then writes, SQLite may refuse it without waiting. So a writer takes the lock
    # first.
    sa.event.listen(writing, "begin", lambda connection: direct.execute(connection, "BEGIN IMMEDIATE"))
    sa.event.listen(reading, "begin", lambda connection: direct.execute(connection, "BEGIN"))
    return Database(
        writing=writing,
        reading=reading,
        asking=asking,
        name="the SQLite database in memory" if in_memory else name,
        in_memory=in_memory,
        limit=limit,
        kept=kept,
        statements=direct,
    )


def _is_unchangeable(url: sa.URL) -> bool:
    """Return whether nobody can change this SQLite file, and no change waits in its log file."""
    if url.database in (None, "", ":memory:") or url.query:
        return False
    path = Path(str(url.database))
    if not hasattr(os, "statvfs") or not path.is_file() or path.with_name(f"{path.name}-wal").exists():
        return False
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _pool(size: int, limit: Limit) -> dict[str, Any]:
    return {"pool_size": size, "max_overflow": 0, "pool_timeout": limit.seconds}


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # Python's driver begins a transaction late. This line switches that off, so that the BEGIN of `_open_sqlite` is
    # used.
    connection.isolation_level = None
    # A damaged text must not make the whole statement fail. Decoding it later raises an error that names its thread.
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    # A commit returns only after its data is on the disk, so the data survives even a power failure.
    connection.execute("PRAGMA synchronous = FULL")


def with_defaults(url: sa.URL, more: Mapping[str, str] | None = None) -> sa.URL:
    """Return the URL of a PostgreSQL database with the parameters of libpq that every connection of the library has.

    `more`: further parameters. Parameters that the URL has already stay as they are.
    """
    defaults = _POSTGRESQL_DEFAULTS | dict(more or {})
    return url.update_query_dict({key: value for key, value in defaults.items() if key not in url.query})


def _open_postgresql(url: sa.URL, limit: Limit, lock_timeout: float, writers: int, idle_timeout: float) -> Database:
    url = with_defaults(url)
    try:
        writing, reading = (
            sa.create_engine(url, hide_parameters=True, pool_recycle=1800, **_pool(size, limit), **options)
            for size, options in ((writers, {}), (READERS, {"isolation_level": "REPEATABLE READ"}))
        )
        from gpt_agent_fsm.stores import postgresql  # noqa: PLC0415 - an extra
    except ImportError as error:
        advice = 'pip install "psycopg[binary]" (the extra "postgres" of gpt-agent-fsm)'
        raise ImportError(f"SQLStore needs psycopg for PostgreSQL: {advice}", name="psycopg") from error

    def connect(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> object:
        return postgresql.connect(limit, parameters)

    def prepare(connection: postgresql.LimitedConnection, _record: object) -> None:
        postgresql.prepare(connection, lock_timeout, idle_timeout)

    def check(connection: postgresql.LimitedConnection, _record: object, _proxy: object) -> None:
        if not postgresql.is_open(connection):
            raise sa.exc.DisconnectionError("the server has closed the connection")  # the pool makes a new one

    for engine in (writing, reading):
        sa.event.listen(engine, "do_connect", connect)
        sa.event.listen(engine, "connect", prepare)
        sa.event.listen(engine, "checkout", check)
    # If a password contains a bare @, its end stands before the host.
    host = (url.host or "").rpartition("@")[2]
    name = f"the PostgreSQL database {url.database or ''} at {host or 'the local socket'}"
    asking = reading.execution_options(isolation_level="AUTOCOMMIT")
    return Database(writing=writing, reading=reading, asking=asking, name=name, in_memory=False, limit=limit)
