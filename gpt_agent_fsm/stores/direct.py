"""Runs the statements of a transaction directly on the driver of SQLite.

SQLAlchemy only writes the SQL, once for each statement. If SQLAlchemy also ran the statement, this would take ten times
as long as SQLite itself needs. A conversation makes a transaction for each of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

__all__ = ["Direct"]


class _Prepared(NamedTuple):
    sql: str
    values: Callable[[Mapping[str, Any]], Sequence[Any]]


class Direct:
    """The statements of one database, in the form that the driver takes."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._prepared: dict[sa.Executable, _Prepared] = {}

    def run(self, connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row, in the transaction of the connection. Raises the errors of SQLAlchemy."""
        prepared = self._prepare(statement)
        self._on_cursor(connection, "executemany", prepared, [prepared.values(row) for row in rows])

    def scalar(self, connection: sa.Connection, statement: sa.Executable, row: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Run a statement, and return the first value of its only row, or None without a row. Raises as `run` does."""
        prepared = self._prepare(statement)
        found = self._on_cursor(connection, "execute", prepared, prepared.values(row))
        return None if found is None else found[0]

    def _on_cursor(self, connection: sa.Connection, method: str, prepared: _Prepared, values: Sequence[Any]) -> Any:  # noqa: ANN401
        cursor, errors = connection.connection.cursor(), self._dialect.loaded_dbapi
        try:
            getattr(cursor, method)(prepared.sql, values)
            return cursor.fetchone() if method == "execute" else None
        except errors.Error as error:
            raise sa.exc.DBAPIError.instance(
                prepared.sql, None, error, errors.Error, hide_parameters=True, dialect=self._dialect
            ) from error
        finally:
            cursor.close()

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
