"""The six states of a thread, and the groups of states that the rules use."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ANY", "LIVE", "NOT_LIVE", "OUTPUTS_SENT", "MAY_BE_IN_DOUBT", "RESTING", "STARTING", "State"]


class State(StrEnum):
    """The state of a thread. A member prints as its name in lower case, and compares equal to this text."""

    IDLE = "idle"
    RUNNING = "running"
    AWAITING_TOOLS = "awaiting_tools"
    SUBMITTING = "submitting"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"

    @property
    def run_in_progress(self) -> bool:
        """True while a run is active, or will be started again without a new message."""
        return self not in RESTING


ANY = tuple(State)
RESTING = (State.IDLE, State.FAILED)
"""No run is active, and none will be started again without a command."""
LIVE = (State.RUNNING, State.AWAITING_TOOLS, State.SUBMITTING)
"""A run is active on the server."""
NOT_LIVE = (State.IDLE, State.RATE_LIMITED, State.FAILED)
STARTING = (State.IDLE, State.RATE_LIMITED)
"""The states in which runs are created."""
MAY_BE_IN_DOUBT = (State.IDLE, State.RATE_LIMITED, State.SUBMITTING)
"""In these states the library sends requests that must not be sent twice."""
OUTPUTS_SENT = (State.RUNNING, State.SUBMITTING)
"""In these states the outputs of the last round of tool calls may be on the server."""
