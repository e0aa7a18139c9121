"""Pass the library's log to a handler while a command runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["library_log"]


@contextlib.contextmanager
def library_log(handler: logging.Handler, form: str) -> Iterator[None]:
    """Inside the `with` block, pass each record of level INFO or higher to the handler. Close the handler at the end.

    `form` is the format of the log lines.
    """
    handler.setFormatter(logging.Formatter(form))
    logger = logging.getLogger("gpt_agent_fsm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
