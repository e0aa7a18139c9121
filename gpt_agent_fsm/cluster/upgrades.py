"""Upgrades of the tables in two halves, so that the processes of a cluster can be replaced one by one.

The first half only adds. The first process of a newer version makes it when it opens the database, and processes of the
older version continue. The second half removes what only older versions need. A person asks for it by `finish`, when
the last older process has ended.
"""

from __future__ import annotations

from typing import Final

import attrs
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError

__all__ = ["OLDEST", "VERSION", "add", "finish", "made_by_newer", "reason"]

VERSION: Final = 3
"""The version of the tables that this version of the library knows."""
OLDEST = "SELECT oldest FROM gpt_agent_cluster"

_TOO_OLD = (
    "The tables of this cluster were made by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm. Processes of "
    "this version no longer work with them."
)
_OLDER_WORKERS = """
SELECT id FROM gpt_agent_workers WHERE version < (SELECT version FROM gpt_agent_cluster) AND alive_until >= now()
ORDER BY id
"""


@attrs.frozen(kw_only=True)
class _Step:
    """One version of the tables.

    Attributes:
        additions: statements that make it from the version before. Older processes must not notice them.
        removals: statements for the time when no older process is left.
    """

    additions: str
    removals: str = ""


_STEPS: Final[dict[int, _Step]] = {
    2: _Step(
        additions="""
        ALTER TABLE gpt_agent_cluster ADD COLUMN IF NOT EXISTS oldest bigint NOT NULL DEFAULT 1;
        ALTER TABLE gpt_agent_workers ADD COLUMN IF NOT EXISTS version bigint NOT NULL DEFAULT 1
        """
    ),
    3: _Step(additions="ALTER TABLE gpt_agent_cluster ADD COLUMN IF NOT EXISTS api text"),
}


def made_by_newer(connection: sa.Connection) -> bool:
    """Return whether a newer version of the library has made the tables, with which this version works as well.

    Raises `StoreError` if this version is too old for them.
    """
    if not sa.inspect(connection).has_table("gpt_agent_cluster") or _version(connection) <= VERSION:
        return False
    if too_old := reason(connection):
        raise StoreError(too_old)
    return True


def reason(connection: sa.Connection) -> str:
    """Return why this version of the library is too old for the tables; "" if it is not."""
    return _TOO_OLD if int(connection.exec_driver_sql(OLDEST, None).scalar_one()) > VERSION else ""


def add(connection: sa.Connection) -> None:
    """Make the first half of each upgrade that the tables still need."""
    for number in range(_version(connection) + 1, VERSION + 1):
        _run(connection, _STEPS[number].additions)
        connection.exec_driver_sql("UPDATE gpt_agent_cluster SET version = %(number)s", {"number": number})


def finish(connection: sa.Connection) -> int:
    """Make the second half of each upgrade. Return how many upgrades were finished.

    Raises `StoreError` while a worker of an older version lives. Other processes of an older version say why they stop.
    """
    oldest = int(connection.exec_driver_sql(OLDEST + " FOR UPDATE").scalar_one())
    version = _version(connection)
    if version > VERSION:
        raise StoreError("A newer version of gpt-agent-fsm has begun this upgrade; finish it with that version.")
    if older := connection.exec_driver_sql(_OLDER_WORKERS).scalars().all():
        raise StoreError(f"Workers of an older version still run: {', '.join(older)}. Replace them first.")
    for number in range(oldest + 1, version + 1):
        _run(connection, _STEPS[number].removals)
    connection.exec_driver_sql("UPDATE gpt_agent_cluster SET oldest = %(version)s", {"version": version})
    return version - oldest


def _version(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT version FROM gpt_agent_cluster").scalar_one())


def _run(connection: sa.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        connection.exec_driver_sql(statement)
