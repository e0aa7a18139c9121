"""Loggers that never raise an error. If a log handler has a defect, no input is lost and no worker stops."""

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
    """A logger that never raises.

    It reports the errors of its log handlers and filters on standard error, as `logging` does.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        # The log record must name the code that called the logger's method.
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
    """Return the logger of a module. It never raises an error, even if its log handlers and filters do."""
    return _SafeLogger(logging.getLogger(name), None)


def must_propagate(error: BaseException) -> bool:
    """Return whether code that catches the errors of handlers must still let this error through.

    The result is True for a `KeyboardInterrupt` on the main OS thread, where Ctrl-C arrives. On another OS thread a
    `KeyboardInterrupt` is an ordinary error. The result is also True for the crash that the tests simulate. An
    attribute of the error marks this crash.
    """
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return bool(getattr(error, "ends_the_process", False))
