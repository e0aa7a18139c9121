"""Detects the use of an object after a fork. OS threads, locks and connections do not work in the child."""

from __future__ import annotations

import os

from gpt_agent_fsm.errors import UsedAfterFork

__all__ = ["Origin"]


class Origin:
    """Remembers the process that made an object. `what` is the name of the object in the error.

    Call `check` before you take a lock. If an OS thread of the parent held the lock during the fork, nothing releases
    the lock in the child.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def was_forked(self) -> bool:
        """True in a child of the process that made the object."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise `UsedAfterFork` in a child of the process that made the object."""
        if self.was_forked:
            raise UsedAfterFork(
                f"This {self._what} was made before the process was forked, and OS threads, locks and connections do "
                f"not survive a fork: make a new {self._what} in this process, for example in gunicorn's "
                "`post_worker_init` or Celery's `worker_process_init`."
            )
