"""Connections to PostgreSQL. They end every wait in time, and make the server flush every commit."""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.limit import Limit

__all__ = ["LimitedConnection", "connect", "has_spoken", "is_open", "prepare"]

T = TypeVar("T")

_FASTEST_CONNECT = 2
"""The shortest time, in seconds, that psycopg waits for a connection."""
_MAX_MILLISECONDS = 2**31 - 1

# A commit that has returned must survive a power failure, whatever the default of the role or the database is. Only the
# values in this statement promise less. So only these values are changed.
_FLUSH_EVERY_COMMIT = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)


class _NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""

    sqlstate = "TIMEOUT"


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that closes itself if a statement does not end in time.

    No setting of PostgreSQL can do this. A frozen server does not end its own statements, and if a proxy stands before
    the server, the TCP connection stays alive.
    """

    limit: Limit | None = None

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - psycopg's
        """Run a generator that yields whenever it waits for the server. psycopg calls this method."""
        return super().wait(gen if self.limit is None else self._limited(gen, self.limit.deadline), *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                # Several times a second, psycopg sends a falsy value. It means that nothing has happened yet.
                ready = yield wanted
                if not ready and time.monotonic() >= deadline:
                    self.pgconn.finish()
                    raise _NoAnswer("no answer in time")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def connect(limit: Limit, parameters: dict[str, Any]) -> LimitedConnection:
    """Return a new connection with these parameters of libpq. Raises `StoreError` if it cannot keep every text."""
    seconds = min(float(parameters.pop("connect_timeout")), limit.remaining)
    connection = LimitedConnection.connect(**parameters, connect_timeout=max(math.ceil(seconds), _FASTEST_CONNECT))
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        name = connection.info.dbname
        connection.close()
        raise StoreError(
            f"The PostgreSQL database {name} has the encoding {encoding}, in which many texts cannot "
            "be saved; create one with ENCODING 'UTF8', and move the tables with pg_dump if there are any."
        )
    connection.limit = limit
    return connection


def prepare(connection: LimitedConnection, lock_timeout: float, idle_timeout: float) -> None:
    """Set the settings that a new session needs."""
    connection.execute(f"SET lock_timeout = {_milliseconds(lock_timeout)}")
    # If this program is frozen or loses its connection, the session may stay open, with the locks of its transaction.
    connection.execute(f"SET idle_in_transaction_session_timeout = {_milliseconds(idle_timeout)}")
    connection.execute(_FLUSH_EVERY_COMMIT)
    connection.commit()


def has_spoken(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Return whether a server has sent something to an idle connection, or the connection is closed. Asks nobody.

    A server that ends a connection says so, and sends nothing else to an idle one but rare notices. To ask it before
    each transaction would take as long as the statement of a short transaction.
    """
    if connection.closed:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def is_open(connection: LimitedConnection) -> bool:
    """Return whether the server still has an idle connection. Asks it only if it has said something."""
    if not has_spoken(connection):
        return True
    try:
        connection.execute(";")
        connection.rollback()
    except psycopg.Error:
        return False
    return True


def _milliseconds(seconds: float) -> int:
    return min(max(1, round(seconds * 1000)), _MAX_MILLISECONDS)
