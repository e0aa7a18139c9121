"""The process that has opened a database for writing, and whether it still runs."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs

from gpt_agent_fsm.ports import offers

__all__ = ["CLUSTER", "Holder", "is_held"]

CLUSTER = "a cluster"
"""The host of the holder if the workers of a cluster have the database."""

_BEGAN = time.time()
"""When this process began, or shortly after."""


@attrs.frozen(kw_only=True)
class Holder:
    """A process that holds a store, which means that it has opened the store for writing.

    Attributes:
        host: the name of the computer on which the process runs.
        pid: the id of the process on that computer.
        since: the time at which the process opened the store, in seconds since the epoch.
    """

    host: str
    pid: int
    since: float

    @classmethod
    def here(cls) -> Holder:
        """Return a `Holder` for this process, with the current time as the time of opening."""
        return cls(host=socket.gethostname(), pid=os.getpid(), since=time.time())

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid())

    @property
    def runs(self) -> bool | None:
        """Whether the process still runs; None if it is unknown, for example because it is on another computer.

        A cluster counts as a holder only while it has a live worker.
        """
        if self.host == CLUSTER:
            return True
        if self.host != socket.gethostname():
            return None
        if self.pid == os.getpid():
            # In a container, this process often has the same number as a process that has died.
            return self.since >= _BEGAN
        if os.name != "posix":
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return not _has_ended(self.pid)

    def __str__(self) -> str:
        if self.host == CLUSTER:
            return CLUSTER
        since = datetime.datetime.fromtimestamp(self.since, tz=datetime.UTC)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def _has_ended(pid: int) -> bool:
    """Return whether a process is a zombie: it has ended, but its parent has not asked for its exit code yet."""
    with contextlib.suppress(OSError):  # only Linux has this file
        _, _, fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        return fields.split()[:1] == ["Z"]
    return False


def is_held(store: object, *, if_unknown: bool = True) -> bool:
    """Return whether a process holds the store. A process that no longer runs is ignored.

    Return `if_unknown` if this cannot be known, for example because the process is on another computer, or because the
    store does not record its holder.
    """
    if not offers(store, _HeldStore):
        return if_unknown
    holder = store.holder()
    runs = False if holder is None else holder.runs
    return if_unknown if runs is None else runs


@runtime_checkable
class _HeldStore(Protocol):
    def holder(self) -> Holder | None:
        """Return the process that holds the store."""
