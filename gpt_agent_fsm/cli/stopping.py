"""The beginning and the end of a command that serves until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Iterator

import click

__all__ = ["cannot_listen", "stopped_by_signals"]


def cannot_listen(host: str, port: int, error: OSError | TypeError | UnicodeError) -> click.ClickException:
    """Return the exception for a server that cannot listen, with one sentence that says why."""
    is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    advice = "; choose another --port, or 0 for a free one" if is_taken else ""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return click.ClickException(f"cannot listen on {host} port {port}: {reason}{advice}")


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield a `threading.Event`. SIGINT or SIGTERM sets it. A second signal has its usual effect."""
    stopped = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: object) -> None:
        restore()
        stopped.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()
