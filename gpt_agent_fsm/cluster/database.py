"""The connections of one process to the database of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from gpt_agent_fsm.cluster import tables
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.ports import Saved
from gpt_agent_fsm.stores.engine import open_database
from gpt_agent_fsm.stores.rows import saved_of
from gpt_agent_fsm.stores.sql import SQLStore
from gpt_agent_fsm.stores.store_errors import OUTCOME_UNKNOWN, as_store_error, to_store_error

__all__ = ["ClusterDatabase", "ClusterReader"]

_WRITERS = 8
"""How many transactions of one process may write at the same time. PostgreSQL flushes them to the disk together."""

IDLE_TIMEOUT = 5.0
"""Seconds after which PostgreSQL ends the transaction of a frozen process. A lease is longer, so when others take the
threads of the process over, it no longer holds locks."""


_WRONG_URL = "A cluster needs PostgreSQL; write its URL like postgresql://user:password@host:5432/database."


class ClusterReader(SQLStore):
    """Reads the tables of a cluster. `tables.join` has checked them, and a newer version may have made them."""

    def _exists(self) -> bool:
        return True

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        return self._read(thread_id, after=None, limit=None)

    def news(self, thread_id: str, *, after: int, limit: int) -> Saved | None:
        """See `FollowedStore.news`."""
        return self._read(thread_id, after=after, limit=limit)

    @contextlib.contextmanager
    def asking(self) -> Iterator[sa.Connection]:
        """Yield a connection on which each statement is a transaction of its own. Errors are raised as `StoreError`."""
        with self._calling(), self._database.to_ask() as connection:
            yield connection

    def _read(self, thread_id: str, after: int | None, limit: int | None) -> Saved | None:
        with self.asking() as connection:
            values = {"thread": thread_id, "after": after, "most": limit}
            row = tables.run(connection, tables.READ, **values).mappings().one_or_none()
        return None if row is None else saved_of(row, row["queue"], row["inbox"], row["records"])


class ClusterDatabase:
    """The database of a cluster. Safe to use from any OS thread. See `Cluster` for the arguments.

    Attributes:
        name: the database, without secrets.
        cluster: the name of the cluster.
        reader: a store that only reads.
        api: the API of this process, if it has one with a name. All processes must have the same.
    """

    def __init__(self, url: str, *, timeout: float, lock_timeout: float) -> None:
        self.origin: Origin = Origin("Cluster")
        if not url.startswith(("postgresql:", "postgresql+psycopg:", "postgres:")):
            raise StoreError(_WRONG_URL)
        try:
            self._database = open_database(url, timeout, lock_timeout, writers=_WRITERS, idle_timeout=IDLE_TIMEOUT)
        except StoreError:
            raise StoreError(_WRONG_URL) from None  # the other error is about `SQLStore`
        self.name: str = self._database.name
        self.api: str | None = None
        self._closed = False
        try:
            with self.transaction() as connection:
                self.cluster: str = tables.join(connection)
            self.reader: ClusterReader = ClusterReader(url, timeout=timeout, lock_timeout=lock_timeout, read_only=True)
        except BaseException:
            self._database.dispose()
            raise

    @contextlib.contextmanager
    def transaction(self, *, doubt: str = OUTCOME_UNKNOWN) -> Iterator[sa.Connection]:
        """Run the `with` block in one transaction. Errors of the database are raised as `StoreError`.

        If it is unknown whether the transaction took effect, the error ends with the sentence `doubt`.
        """
        self.origin.check()
        self.check_open()
        with (
            self._database.limit,
            as_store_error(self.name),
            self._database.writing.connect() as connection,
        ):
            yield connection
            try:
                connection.commit()
            except Exception as error:
                raise to_store_error(error, self.name, doubt) from error

    @contextlib.contextmanager
    def asking(self) -> Iterator[sa.Connection]:
        """Run the `with` block without a transaction around its statements. Errors are raised as `StoreError`."""
        with self.reader.asking() as connection:
            yield connection

    def agree(self, api: str) -> None:
        """Let the cluster have this API. Raises `StoreError` if its threads have another one."""
        with self.transaction() as connection:
            tables.agree(connection, api)
        self.api = api

    def check_open(self) -> None:
        """Raise `StoreError` after `close`."""
        if self._closed:
            raise StoreError("This store was closed; make a new one.")

    def close(self) -> None:
        """Close all connections. Idempotent."""
        if not self._closed and not self.origin.was_forked:
            self._closed = True
            self.reader.close()
            self._database.dispose()
