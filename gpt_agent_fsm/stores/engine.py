"""Makes a SQLAlchemy engine from a URL, configured for durability on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import StaticPool

from gpt_agent_fsm.errors import StoreError

__all__ = ["READERS", "Database", "open_database"]

READERS = 4
"""How many OS threads read at the same time; one more connection is reserved for the writer."""

_POSTGRESQL_DEFAULTS = {
    "connect_timeout": "10",
    # On a network that drops packets, a wait ends after this many milliseconds, not after a quarter of an hour.
    "tcp_user_timeout": "30000",
    "application_name": "gpt-agent-fsm",
}


@attrs.frozen(kw_only=True)
class Database:
    """An engine for writing, the same engine for reading one consistent state, and a name without secrets.

    Attributes:
        in_memory: True if all callers share one connection, so that they must take turns.
    """

    writing: sa.Engine
    reading: sa.Engine
    name: str
    in_memory: bool

    def is_there(self) -> bool:
        """False for a SQLite file that does not exist; connecting would create it."""
        url = self.writing.url
        on_disk = url.get_backend_name() == "sqlite" and not self.in_memory and "uri" not in url.query
        return not on_disk or Path(str(url.database)).exists()


def open_database(url: str, lock_timeout: float) -> Database:
    """Return the database at a URL, without connecting to it.

    Raises `StoreError` for the URL of an unsupported database, and `ImportError` if the driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, lock_timeout)
    return _open_postgresql(parsed, lock_timeout)


def _parse(url: str) -> sa.URL:
    # The parser's own errors quote the URL, password included, so they are not chained.
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


def _open_sqlite(url: sa.URL, lock_timeout: float) -> Database:
    in_memory = url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"
    # `timeout` is SQLite's busy_timeout. One OS thread at a time uses a connection.
    pool: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {"pool_size": READERS + 1, "max_overflow": 0}
    engine = sa.create_engine(
        url, connect_args={"check_same_thread": False, "timeout": lock_timeout}, hide_parameters=True, **pool
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    name = "the SQLite database in memory" if in_memory else f"the SQLite database {url.database}"
    return Database(writing=engine, reading=engine.execution_options(reads=True), name=name, in_memory=in_memory)


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # Python's driver begins transactions late and at points of its own choice. Off: the BEGIN below decides.
    connection.isolation_level = None
    # A commit returns only when it is on the disk, so that it survives even a power failure.
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that begins as a reader and then writes may be refused at once; so a writer locks first.
    reads = connection.get_execution_options().get("reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _open_postgresql(url: sa.URL, lock_timeout: float) -> Database:
    url = url.update_query_dict({key: value for key, value in _POSTGRESQL_DEFAULTS.items() if key not in url.query})
    try:
        engine = sa.create_engine(
            url, hide_parameters=True, pool_size=READERS + 1, max_overflow=0, pool_pre_ping=True, pool_recycle=1800
        )
    except ImportError as error:
        raise ImportError(
            'SQLStore needs psycopg for PostgreSQL: pip install "gpt-agent-fsm[postgres]"', name="psycopg"
        ) from error

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {max(1, round(lock_timeout * 1000))}")
        connection.commit()

    return Database(
        writing=engine,
        reading=engine.execution_options(isolation_level="REPEATABLE READ"),
        name=f"the PostgreSQL database {url.database or ''} at {url.host or 'the local socket'}",
        in_memory=False,
    )
