"""Runs statements: with SQLAlchemy, or directly on the driver of SQLite.

On SQLite, SQLAlchemy only writes the SQL, once for each statement. If SQLAlchemy also ran the statement, this would
take ten times as long as SQLite itself needs. A conversation makes a transaction for each of its steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

__all__ = ["Direct", "Row", "Statements"]


class Row(Protocol):
    """A row of a result. Its columns are read by name."""

    def __getitem__(self, column: str, /) -> Any:  # noqa: ANN401 - as the database has it
        """Return the value of a column."""


class Statements:
    """Runs statements with SQLAlchemy, in the transaction of the connection. Raises the errors of SQLAlchemy."""

    def run(self, connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row."""
        connection.execute(statement, rows)

    def scalar(self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Run a statement, and return the first value of its only row, or None without a row."""
        return connection.execute(statement, row).scalar_one_or_none()

    def all(
        self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any] | None = None
    ) -> Sequence[Row]:
        """Run a statement, and return all rows of its result."""
        return connection.execute(statement, row).mappings().all()


class _Prepared(NamedTuple):
    sql: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]


class Direct(Statements):
    """Runs statements on the driver of SQLite, in the form that the driver takes."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._driver: Any = dialect.loaded_dbapi
        self._prepared: dict[sa.Executable, _Prepared] = {}

    def run(self, connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """See `Statements.run`."""
        sql, values = self._prepare(statement)
        try:
            _driver_of(connection).executemany(sql, [values(row) for row in rows])
        except self._driver.Error as error:
            raise self._translated(error, sql) from error

    def scalar(self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """See `Statements.scalar`."""
        sql, values = self._prepare(statement)
        try:
            found = _driver_of(connection).execute(sql, values(row)).fetchone()
        except self._driver.Error as error:
            raise self._translated(error, sql) from error
        return None if found is None else found[0]

    def all(
        self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any] | None = None
    ) -> Sequence[Row]:
        """See `Statements.all`."""
        sql, values = self._prepare(statement)
        try:
            cursor = _driver_of(connection).cursor()
            cursor.row_factory = self._driver.Row
            found: Sequence[Row] = cursor.execute(sql, values(row or {})).fetchall()
        except self._driver.Error as error:
            raise self._translated(error, sql) from error
        return found

    def execute(self, connection: sa.Connection, sql: str) -> None:
        """Run a statement that has no parameters and no result."""
        try:
            _driver_of(connection).execute(sql)
        except self._driver.Error as error:
            raise self._translated(error, sql) from error

    def _translated(self, error: Exception, sql: str) -> BaseException:
        """Return the error of SQLAlchemy for an error of the driver."""
        return sa.exc.DBAPIError.instance(
            sql, None, error, self._driver.Error, hide_parameters=True, dialect=self._dialect
        )

    def _prepare(self, statement: sa.Executable) -> _Prepared:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = self._compiled(statement)
        return prepared

    def _compiled(self, statement: sa.Executable) -> _Prepared:
        compiled: Any = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        names = tuple(compiled.positiontup)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        if not fixed and len(names) > 1:
            return _Prepared(str(compiled), operator.itemgetter(*names))

        def values(row: Mapping[str, Any]) -> Sequence[Any]:
            return [row[name] if name in row else fixed[name] for name in names]

        return _Prepared(str(compiled), values)


def _driver_of(connection: sa.Connection) -> Any:  # noqa: ANN401 - a connection of the driver
    return connection.connection.dbapi_connection
