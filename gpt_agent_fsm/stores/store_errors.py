"""Turns database errors into `StoreError`, each with a sentence that says what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError

__all__ = ["OUTCOME_UNKNOWN", "concerns_one_operation", "to_store_error", "as_store_error"]

OUTCOME_UNKNOWN = "It is unknown whether the call took effect; repeat it, and it takes effect once."

_SQLITE = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_BUSY": "it is locked by another program; close that, or let it finish",
    "SQLITE_LOCKED": "it is locked by another program; close that, or let it finish",
    "SQLITE_READONLY": "it is read-only; make the file and its directory writable",
    "SQLITE_CANTOPEN": "it cannot be opened; check that it is a file, and that its directory exists and is writable",
    "SQLITE_PERM": "it cannot be opened; check its permissions",
    "SQLITE_NOTADB": "the file is not a SQLite database; use a separate file for the store",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a backup",
    "SQLITE_IOERR": "the disk reported an error; check the disk and its free space",
    "SQLITE_TOOBIG": "something is too long for it; keep texts below one gigabyte",
}
_POOLED = "a pooler such as PgBouncer shares its connections between transactions; connect to PostgreSQL directly"
_POSTGRESQL = {
    "28": "the login was refused; check the user and the password",
    "3D": "there is no such database; create it",
    "3F": "there is no such schema; create it",
    "42501": "the user may not do this; grant the rights to create, read and write tables",
    "53": "the server is out of resources; check its disk and its connections",
    "54": "something is too long for it; keep thread ids below two kilobytes",
    "55P03": "it is locked by another program; close that, or let it finish",
    "57014": "a statement did not end in the time that the role or the database allows; raise statement_timeout",
    "57": "the server is shutting down or starting; wait, or start it",
    "25006": "it is read-only; connect to the primary server",
    "TIMEOUT": "it did not answer in time; check the server and the network",
    "26000": _POOLED,
    "42P05": _POOLED,
    "22": "it cannot store one of the values; keep zero characters out of thread ids",
}
_UNREACHABLE = (
    "the server cannot be reached or closed the connection; check that it runs and that host, port and login are right"
)
# The server's own words. They name the user or the database, and contain no password.
_REFUSAL = re.compile(r"FATAL: +(.+)")
_ONE_OPERATION_SQLITE = ("SQLITE_FULL", "SQLITE_TOOBIG")
_ONE_OPERATION_POSTGRESQL = ("22", "23", "53100", "54")


def _code_of(error: BaseException) -> str:
    """Return SQLite's name of an error, or else the error's SQLSTATE. Return "" if the error has neither."""
    original = getattr(error, "orig", error)
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return str(code or "")


def _advice(error: BaseException) -> str:
    code = _code_of(error)
    for table in (_SQLITE, _POSTGRESQL):
        for prefix, advice in table.items():
            if code.startswith(prefix):
                return advice
    if isinstance(error, sa.exc.OperationalError) and not code:
        refusal = _REFUSAL.findall(str(error.orig))
        return f"the server has refused the connection: {refusal[-1].rstrip('. ')}" if refusal else _UNREACHABLE
    if isinstance(error, UnicodeError | sa.exc.DataError):
        return "it cannot store one of the values; keep zero characters and unpaired surrogates out of thread ids"
    if isinstance(error, sa.exc.TimeoutError):
        return "no connection became free; try again"
    return f"it reported {type(error).__name__} {code}".rstrip() + "; check that nothing else changes its tables"


def to_store_error(error: BaseException, name: str, doubt: str = "") -> StoreError:
    """Return the `StoreError` for an error. Its text contains neither values nor passwords.

    `doubt` is a sentence for a commit that was sent, if nobody can know whether it took effect: `OUTCOME_UNKNOWN`.
    """
    if isinstance(error, StoreError):
        return error
    problem = StoreError(f"Using {name} failed: {_advice(error)}. {doubt}".rstrip())
    problem.__cause__ = error
    return problem


@contextlib.contextmanager
def as_store_error(name: str) -> Iterator[None]:
    """Turn every exception of the `with` block into a `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise to_store_error(error, name) from error


def concerns_one_operation(error: BaseException) -> bool:
    """Return whether one operation alone has caused the error: its value was refused or is too large."""
    code = _code_of(error)
    if code.startswith(_ONE_OPERATION_SQLITE) or code.startswith(_ONE_OPERATION_POSTGRESQL):
        return True
    refused = isinstance(error, sa.exc.DataError | sa.exc.IntegrityError)
    return refused or not isinstance(error, sa.exc.SQLAlchemyError | StoreError)
