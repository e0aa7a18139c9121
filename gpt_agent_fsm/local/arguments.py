"""Checks the arguments of a `LocalServer` before the server starts anything."""

import math
import os
from pathlib import Path
from types import UnionType

from gpt_agent_fsm.callables import why_it_takes_no_such_call

MAX_SECONDS = 1e9
"""The limit for a number of seconds, about 30 years. A time further in the future may not fit into a timestamp."""


def check_callable(name: str, value: object, does: str) -> None:
    """Raise `TypeError` unless the argument is a callable that takes one argument, or None.

    `does` says in the error what the callable does, for example `takes a key`.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a callable that {does}, not {value!r:.100}.")
    if value is not None and (reason := why_it_takes_no_such_call(value, 1)):
        raise TypeError(f"{name} must be a callable that {does}: {reason}.")


def check_type(name: str, value: object, kind: type | UnionType, what: str) -> None:
    """Raise `TypeError` unless the argument is a `kind`. True and False are not accepted as numbers."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} must be {what}, not {value!r:.100}.")


def check_whole(name: str, value: object, minimum: int, maximum: float = math.inf) -> None:
    """Raise `ValueError` unless the argument is a whole number from `minimum` to `maximum`."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        limits = f"of at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
        raise ValueError(f"{name} must be a whole number {limits}, not {value!r:.100}.")


def check_seconds(name: str, value: object, *, may_be_zero: bool) -> None:
    """Raise `ValueError` unless the number of seconds is below `MAX_SECONDS` and above 0 (or 0, if `may_be_zero`)."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value < MAX_SECONDS and (may_be_zero or value > 0)):  # type: ignore[operator]
        least = "of at least 0" if may_be_zero else "above 0"
        raise ValueError(f"{name} must be a number of seconds {least} and below {MAX_SECONDS:.0f}, not {value!r:.100}.")


def check_database(path: str | os.PathLike[str] | None) -> None:
    """Raise `TypeError` or `ValueError` unless the path is None or names a file in an existing folder.

    The file itself need not exist.
    """
    if path is None:
        return
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"database must be a path of a file, not {path!r:.100}.")
    # The path "" means the current folder.
    if not os.fspath(path).strip() or Path(path).is_dir():
        raise ValueError(f"database must be the path of a file, not {os.fspath(path)!r}; leave it out for memory.")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise ValueError(f"database cannot be {os.fspath(path)!r}: the folder {str(folder)!r} does not exist.")


def check_key(value: object) -> None:
    """Raise `TypeError` unless the API key is a str, a callable or None."""
    if value is not None and not isinstance(value, str):
        check_callable("api_key", value, "takes a key and returns whether it is valid, or a str")
