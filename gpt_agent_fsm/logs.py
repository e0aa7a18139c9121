"""Loggers that never raise: a log handler or filter with a defect must neither cost a fact nor stop a worker."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
from typing import Any

__all__ = ["get_logger", "must_propagate"]


class _SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that reports what its handlers and filters raise like `logging` does: on standard error."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - as its base class
        # The caller of the caller is who logs.
        kwargs.setdefault("stacklevel", 2)
        try:
            super().log(level, msg, *args, **kwargs)
        except BaseException as error:
            if must_propagate(error):
                raise
            if logging.raiseExceptions:
                with contextlib.suppress(Exception):
                    print("--- Logging error ---", traceback.format_exc(), sep="\n", file=sys.stderr)


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of a module; it raises nothing, whatever its handlers and filters do."""
    return _SafeLogger(logging.getLogger(name), None)


def must_propagate(error: BaseException) -> bool:
    """Return whether code that contains the errors of others must let this one through.

    Ctrl-C arrives on the main thread only; on any other it is an error like all others. The tests' simulated crash says
    of itself that it ends the process.
    """
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return bool(getattr(error, "ends_the_process", False))
