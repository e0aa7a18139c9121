"""Lets the requests of several OS threads take turns, except while they wait for the network.

Python runs only one OS thread at a time. But with each short system call, an OS thread gives the interpreter to another
OS thread, and must wait to get the interpreter back. Without turns, eight workers make more than twice as many context
switches, and use a tenth more CPU for the same requests (`docs/decisions/0013-the-short-way-of-a-poll.md`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

__all__ = ["Turns", "paused"]

_PATIENCE = 0.1
"""How many seconds an OS thread waits for its turn. Then it works without one. Turns only save time, so nothing may
stand still because of them, for example if a log handler waits for another OS thread."""
_has_gil: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class _Current(threading.local):
    turn: threading.Lock | None = None


_current = _Current()


class Turns:
    """The turns of the OS threads that use the connections to one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn of this OS thread, but not for long, and keep it until the `with` block ends.

        The main OS thread needs no turn: Ctrl-C may interrupt it anywhere, so it could keep the turn forever. Code that
        a log handler calls during a turn belongs to this turn.
        """
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main or not _has_gil or _current.turn is not None:
            yield
            return
        _current.turn = self._lock if self._lock.acquire(timeout=_PATIENCE) else None
        try:
            yield
        finally:
            turn, _current.turn = _current.turn, None
            if turn is not None:
                turn.release()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Let other OS threads take their turns until the `with` block ends. Wait for the network only in such a block."""
    turn, _current.turn = _current.turn, None
    if turn is None:
        yield
        return
    turn.release()
    try:
        yield
    finally:
        if turn.acquire(timeout=_PATIENCE):
            _current.turn = turn
