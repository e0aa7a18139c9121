"""The statuses of a run, by their meaning for the library. Each backend translates its API's statuses into these."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RunStatus"]


class RunStatus(StrEnum):
    """The status of a run, by its meaning for the library."""

    ACTIVE = "active"
    """Queued or in progress."""
    CANCELLING = "cancelling"
    """Being cancelled; the thread is still locked."""
    NEEDS_TOOLS = "needs_tools"
    COMPLETED = "completed"
    RATE_LIMITED = "rate_limited"
    """Rate limited: a new run may succeed later."""
    OUT_OF_QUOTA = "out_of_quota"
    """Failed because the balance is exhausted: a person must act."""
    FAILED = "failed"
    """Ended in any other way: failed, cancelled, expired, incomplete, or with an unknown final status."""

    @property
    def in_progress(self) -> bool:
        """True while the run may continue: queued, in progress, or waiting for tools."""
        return self in (RunStatus.ACTIVE, RunStatus.NEEDS_TOOLS)

    @property
    def locks_thread(self) -> bool:
        """True while the server refuses messages and runs because of this run."""
        return self.in_progress or self is RunStatus.CANCELLING
