"""Lets only one server at a time use a database file.

The server locks a small file beside the database file. The operating system removes the lock when the process ends.
"""

import os
import sqlite3
from typing import Self

_PATIENCE = 1.0
"""Seconds that a server waits for the previous server on the same file to end."""


class DatabaseInUseError(OSError):
    """Raised if another server, in this or another process, uses the database file.

    The message contains the id of that server's process.
    """


class FileOwner:
    """The right to use a database file. It lasts from construction to `close`, or to the end of the process.

    Raises `DatabaseInUseError`. The lock is an open transaction on a separate SQLite file. SQLite's locks work on every
    platform, and also between two connections of one process. Other servers can still read this separate file, which
    contains the owner's process id.
    """

    def __init__(self, path: str) -> None:
        # A file may have several paths, but only one real path.
        self._connection = sqlite3.connect(
            f"{os.path.realpath(path)}-owner", timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            self._take()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            sentence = (
                f"{path} is in use by the server of process {self._pid()}: close that one first, or use another file."
            )
            raise DatabaseInUseError(sentence) from error
        finally:
            # The lock is held if, and only if, a transaction is open.
            if not self._connection.in_transaction:
                self._connection.close()

    def _take(self) -> None:
        # A process id need not survive a loss of power.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("BEGIN IMMEDIATE")
        # Another server may take the lock after the commit, and write its own process id: check whose id is stored.
        while self._pid() != os.getpid():
            self._connection.execute(f"PRAGMA user_version = {os.getpid()}")
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")

    def _pid(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Release the file for the next server."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
