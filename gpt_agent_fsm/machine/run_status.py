"""The statuses of a run, by what they mean for whoever waits for it. Each wire translates its own words into these."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RunStatus"]


class RunStatus(StrEnum):
    """What a run's status means for the one who waits for it."""

    ACTIVE = "active"
    """Queued or in progress."""
    CANCELLING = "cancelling"
    """On its way to its end; the thread is still locked."""
    NEEDS_TOOLS = "needs_tools"
    COMPLETED = "completed"
    RATE_LIMITED = "rate_limited"
    """Rate limited: worth starting again later."""
    OUT_OF_QUOTA = "out_of_quota"
    """Failed for an empty balance: a person must act."""
    FAILED = "failed"
    """Ended in any other way: failed, cancelled, expired, incomplete, or unknown and final."""

    @property
    def in_progress(self) -> bool:
        """True while the run may continue: queued, in progress, or waiting for tools."""
        return self in (RunStatus.ACTIVE, RunStatus.NEEDS_TOOLS)

    @property
    def locks_thread(self) -> bool:
        """True while the server refuses messages and runs because of this run."""
        return self.in_progress or self is RunStatus.CANCELLING
