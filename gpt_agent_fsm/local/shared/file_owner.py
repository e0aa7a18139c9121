"""One server per file: the operating system's lock on a small file beside it, which ends with its process."""

import os
import sqlite3
from typing import Self

_PATIENCE = 1.0
"""Seconds that a server waits for its predecessor to end."""


class DatabaseInUseError(OSError):
    """Raised when another server, in this process or another one, has the file; the message names its process."""


class FileOwner:
    """The right to use a file, from construction to `close`, or to the end of the process. Raises `DatabaseInUseError`.

    The lock is a transaction that is never committed, on an SQLite file of its own: SQLite locks files on every
    platform, between the connections of one process as well, and lets others read the number of the owner's process.
    """

    def __init__(self, path: str) -> None:
        # One file may have many names.
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
        # A number of a process need not survive a loss of power.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("BEGIN IMMEDIATE")
        # Another server may take the lock in the moment after the commit: the number must be that of the holder.
        while self._pid() != os.getpid():
            self._connection.execute(f"PRAGMA user_version = {os.getpid()}")
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")

    def _pid(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Let the next server have the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
