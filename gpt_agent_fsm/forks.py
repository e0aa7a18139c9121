"""Notice that an object is used in a forked process: its OS threads, locks and connections do not survive a fork."""

from __future__ import annotations

import os

from gpt_agent_fsm.errors import UsedAfterFork

__all__ = ["Origin"]


class Origin:
    """The process that made an object; `what` names the object in the error.

    Check it before you take a lock: the OS thread that held the lock when the process forked never releases it here.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def was_forked(self) -> bool:
        """True in a process that was forked from the one that made the object."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise `UsedAfterFork` in a process that was forked from the one that made the object."""
        if self.was_forked:
            raise UsedAfterFork(
                f"OS threads, locks and connections do not survive a fork, and this {self._what} was made before one: "
                "make a new one in this process, for example in gunicorn's `post_fork` or Celery's "
                "`worker_process_init`."
            )
