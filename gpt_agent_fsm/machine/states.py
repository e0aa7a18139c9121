"""The six states of a thread, and the groups of them that the rules speak of."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ANY", "LIVE", "NOT_LIVE", "OUTPUTS_SENT", "MAY_BE_IN_DOUBT", "RESTING", "STARTING", "State"]


class State(StrEnum):
    """Where a thread is in its life. Members compare equal to, and print as, their names in lower case."""

    IDLE = "idle"
    RUNNING = "running"
    AWAITING_TOOLS = "awaiting_tools"
    SUBMITTING = "submitting"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"

    @property
    def run_in_progress(self) -> bool:
        """True while a run is on, or will be started again without a new message."""
        return self not in (State.IDLE, State.FAILED)


ANY = tuple(State)
RESTING = (State.IDLE, State.FAILED)
"""No run is on, and none will be started again by itself."""
LIVE = (State.RUNNING, State.AWAITING_TOOLS, State.SUBMITTING)
"""A run is on the server."""
NOT_LIVE = (State.IDLE, State.RATE_LIMITED, State.FAILED)
STARTING = (State.IDLE, State.RATE_LIMITED)
"""From here runs are created."""
MAY_BE_IN_DOUBT = (State.IDLE, State.RATE_LIMITED, State.SUBMITTING)
"""From here something is sent that must not be sent twice."""
OUTPUTS_SENT = (State.RUNNING, State.SUBMITTING)
"""Here the outputs of the last round of tool calls may be on the server."""
