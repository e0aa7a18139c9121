"""Loggers that never raise: a log handler or filter with a defect must neither lose an input nor stop a worker."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
from typing import Any, TypeAlias

__all__ = ["Log", "get_logger", "must_propagate"]

Log: TypeAlias = logging.LoggerAdapter[logging.Logger]


class _SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that reports the errors of its handlers and filters on standard error, as `logging` does."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        # The record must name the caller of the caller.
        kwargs.setdefault("stacklevel", 2)
        try:
            super().log(level, msg, *args, **kwargs)
        except BaseException as error:
            if must_propagate(error):
                raise
            if logging.raiseExceptions:
                with contextlib.suppress(Exception):
                    print("--- Logging error ---", traceback.format_exc(), sep="\n", file=sys.stderr)


def get_logger(name: str) -> Log:
    """Return the logger of a module; it never raises, even if its handlers and filters do."""
    return _SafeLogger(logging.getLogger(name), None)


def must_propagate(error: BaseException) -> bool:
    """Return whether code that catches all errors of handlers must let this error through.

    Ctrl-C arrives only on the main OS thread; on any other OS thread it is an ordinary error. The tests' simulated
    crash has an attribute that says that it ends the process.
    """
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return bool(getattr(error, "ends_the_process", False))
