"""Runs the statements of a transaction directly on the driver of SQLite.

SQLAlchemy only writes the SQL, once for each statement. If SQLAlchemy also ran the statement, this would take ten times
as long as SQLite itself needs. A conversation makes a transaction for each of its steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

__all__ = ["Direct", "run_now"]


class _Prepared(NamedTuple):
    sql: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]


def run_now(connection: sa.Connection, sql: str) -> None:
    """Run a statement that has no parameters and no result. Raises the errors of SQLAlchemy."""
    with _cursor_of(connection, sql) as cursor:
        cursor.execute(sql)


@contextlib.contextmanager
def _cursor_of(connection: sa.Connection, sql: str) -> Iterator[Any]:
    cursor, dialect = connection.connection.cursor(), connection.dialect
    errors = dialect.loaded_dbapi
    try:
        yield cursor
    except errors.Error as error:
        raise sa.exc.DBAPIError.instance(
            sql, None, error, errors.Error, hide_parameters=True, dialect=dialect
        ) from error
    finally:
        cursor.close()


class Direct:
    """The statements of one database, in the form that the driver takes."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._prepared: dict[sa.Executable, _Prepared] = {}

    def run(self, connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row, in the transaction of the connection. Raises the errors of SQLAlchemy."""
        prepared = self._prepare(statement)
        with _cursor_of(connection, prepared.sql) as cursor:
            cursor.executemany(prepared.sql, [prepared.values(row) for row in rows])

    def scalar(self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Run a statement, and return the first value of its only row, or None without a row. Raises as `run` does."""
        prepared = self._prepare(statement)
        with _cursor_of(connection, prepared.sql) as cursor:
            cursor.execute(prepared.sql, prepared.values(row))
            found = cursor.fetchone()
        return None if found is None else found[0]

    def _prepare(self, statement: sa.Executable) -> _Prepared:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = self._compiled(statement)
        return prepared

    def _compiled(self, statement: sa.Executable) -> _Prepared:
        compiled: Any = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        names = tuple(compiled.positiontup)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}

        def values(row: Mapping[str, Any]) -> Sequence[Any]:
            return [row[name] if name in row else fixed[name] for name in names]

        return _Prepared(str(compiled), values)
