"""Lets the requests of several OS threads take turns, except while they wait for the network.

Python runs only one OS thread at a time. But with each short system call, an OS thread gives the interpreter to another
OS thread, and must wait to get the interpreter back. Without turns, eight workers make more than twice as many context
switches, and use a tenth more CPU for the same requests (`docs/decisions/0013-the-short-way-of-a-poll.md`).
"""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager, nullcontext

__all__ = ["Turns", "give_up", "paused"]

_PATIENCE = 0.1
"""How many seconds an OS thread waits for its turn. Then it works without one. Turns only save time, so nothing may
stand still because of them, for example if a log handler waits for another OS thread."""
_has_gil: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class _Current(threading.local):
    turn: threading.Lock | None = None


_current = _Current()
_NO_TURN = nullcontext()


class Turns:
    """The turns of the OS threads that use the connections to one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def taken(self) -> AbstractContextManager[None]:
        """Wait for the turn of this OS thread, but not for long, and keep it until the `with` block ends.

        The main OS thread needs no turn: Ctrl-C may interrupt it anywhere, so it could keep the turn forever. Code that
        a log handler calls during a turn belongs to this turn.
        """
        is_main = threading.get_ident() == threading.main_thread().ident
        return _NO_TURN if is_main or not _has_gil or _current.turn is not None else _Taken(self._lock)


class _Taken:
    """A `with` block of `Turns.taken`. A class takes half the time of a generator here."""

    __slots__ = ("_lock",)

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        _current.turn = self._lock if self._lock.acquire(timeout=_PATIENCE) else None

    def __exit__(self, *_: object) -> None:
        give_up()


def give_up() -> None:
    """Let other OS threads take their turns for the rest of the `with` block of `Turns.taken`.

    Code of others may wait for the network, or for anything else, and does not say so.
    """
    turn, _current.turn = _current.turn, None
    if turn is not None:
        turn.release()


class paused:  # noqa: N801 - it is used like the functions of `contextlib`
    """Let other OS threads take their turns until the `with` block ends. Wait for the network only in such a block."""

    __slots__ = ("_turn",)

    def __enter__(self) -> None:
        self._turn, _current.turn = _current.turn, None
        if self._turn is not None:
            self._turn.release()

    def __exit__(self, *_: object) -> None:
        if self._turn is not None and self._turn.acquire(timeout=_PATIENCE):
            _current.turn = self._turn
