"""Keeps urllib3's log lines about the library's requests out of the log. Warnings and errors still pass.

These lines contain whole addresses with their parameters. To see the lines, set the level of the logger `urllib3`, or
of one of its child loggers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

__all__ = ["is_asked_for", "quiet"]

_LOGGERS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry")
_requests = threading.local()


class _NotOurs(logging.Filter):
    """A log filter that drops urllib3's lines about the library's requests.

    A line still passes if it is a warning or an error, or if somebody has set a level on its logger.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record passes."""
        ours = getattr(_requests, "under_way", False)
        return not ours or record.levelno >= logging.WARNING or is_asked_for(record.name)


def is_asked_for(name: str) -> bool:
    """Return whether a level was set on this logger or on one of its ancestors. The root logger is ignored."""
    parts = name.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return any(logging.getLogger(each).level != logging.NOTSET for each in names)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_NotOurs())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside the `with` block, drop urllib3's log lines of this OS thread: they are about the library's requests."""
    before = getattr(_requests, "under_way", False)
    _requests.under_way = True
    try:
        yield
    finally:
        _requests.under_way = before
