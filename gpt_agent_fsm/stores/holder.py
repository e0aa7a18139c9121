"""The process that has opened a database for writing."""

from __future__ import annotations

import datetime
import os
import socket
import time

import attrs

__all__ = ["Holder"]


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

    def __str__(self) -> str:
        since = datetime.datetime.fromtimestamp(self.since, tz=datetime.UTC)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"
