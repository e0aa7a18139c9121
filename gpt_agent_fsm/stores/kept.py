"""Keeps connections between short calls. To take one from a pool takes longer than a short query of SQLite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

__all__ = ["Kept"]


class Kept:
    """The idle connections of one engine. A connection that a call is interrupted with is not kept.

    Each OS thread takes a connection of its own, and a signal handler that interrupts a call takes another one.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._idle: list[sa.Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[sa.Connection]:
        """Yield a connection without an open transaction. A transaction that is open at the end is rolled back."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            yield connection
            if connection.in_transaction():
                connection.rollback()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the idle connections. From now on, a connection is closed after its call."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
