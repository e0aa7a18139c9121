"""Keeps the current exchange of each OS thread: its limits, and whether its request was sent.

An exchange is one request and its HTTP answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gpt_agent_fsm.ports import CallLimits, SystemClock, Timeout

__all__ = ["NotSent", "begin", "limits_of", "seconds_left", "was_sent"]

_clock = SystemClock()
_LATE, _EARLY = 0.05, 0.02
"""The seconds by which a wait for the network may end after or before the deadline."""


class NotSent(OSError):
    """The request was not sent, because it may no longer be sent."""


class _Current(threading.local):
    limits = CallLimits(deadline=0.0, clock=_clock)
    check: Callable[[], object] | None = None
    changes_server = False
    sent: bool | None = None


_current = _Current()


def limits_of(timeout: Timeout) -> CallLimits:
    """Return the limits of a call. If `timeout` is a number, it is the seconds from now to the deadline."""
    if isinstance(timeout, CallLimits):
        return timeout
    return CallLimits(deadline=_clock.monotonic() + timeout, clock=_clock)


def begin(timeout: Timeout, check: Callable[[], object] | None = None) -> None:
    """Set the limits of this OS thread's next request or read.

    `check` is called before each read, and every 50 ms while a read waits. If it raises an exception, the exchange
    ends.
    """
    _current.limits = limits_of(timeout)
    _current.check = check
    _current.sent = None


def seconds_left() -> float:
    """Return the seconds until the deadline. Raise `TimeoutError` after the deadline."""
    seconds = _current.limits.seconds_left
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def limit(sock: Any, seconds: float) -> None:  # noqa: ANN401 - plain or TLS sockets
    """Let the next wait of this socket end after about `seconds`, and at most `_LATE` seconds later.

    A timeout that is nearly right is kept, because setting it would let another OS thread take the interpreter.
    """
    timeout = sock.gettimeout()
    if timeout is None or not -_EARLY <= timeout - seconds <= _LATE:
        sock.settimeout(seconds)


def check() -> Callable[[], object] | None:
    """Return the function that must be called repeatedly while no data arrive. Return None if there is none."""
    return _current.check


def max_answer_bytes() -> int:
    """Return how many bytes a decompressed HTTP answer may have."""
    return _current.limits.max_answer_bytes


# --- whether anything has left this machine ------------------------------------------------------------------


def prepare(method: str) -> None:
    """Note that a request begins. None of its bytes was sent yet, and its connection is chosen next."""
    _current.changes_server = method not in ("GET", "HEAD")
    _current.sent = False


def let_go() -> float:
    """Note that the first byte of the request is sent next. Return the seconds until the deadline.

    Between this call and the first byte, nothing can fail or wait. Raises `NotSent` if the request may no longer be
    sent, because its deadline has passed or another process drives the thread.
    """
    if not _current.sent:
        if _current.changes_server and not _current.limits.may_send():
            raise NotSent("The request was not sent, because another process drives this thread now.")
        if _current.limits.seconds_left <= 0:
            raise NotSent("The request was not sent, because its deadline had passed before it could begin.")
    seconds = seconds_left()
    _current.sent = True
    return seconds


def was_sent() -> bool | None:
    """Return whether any byte of the last request was sent.

    Return None if this package did not make the connection of the request.
    """
    return _current.sent
