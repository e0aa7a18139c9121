"""The interfaces by which several processes agree which of them drives a thread."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

__all__ = ["AgentHandle", "Lease", "Ownership"]


class AgentHandle(Protocol):
    """The part of an agent that the engine uses. The agent is the sender of events."""

    @property
    def thread_id(self) -> str:
        """The id of the agent's thread."""
        ...

    @property
    def alive(self) -> bool:
        """False after the agent was stopped."""
        ...


class Lease(Protocol):
    """The right of one process to drive one thread."""

    @property
    def thread_id(self) -> str:
        """The id of the thread."""
        ...

    def holds(self) -> bool:
        """Return whether the process still has the right.

        The engine calls this method immediately before each request.
        """
        ...


class Ownership(Protocol):
    """Decides which process drives which thread. An implementation hands a thread over by calling `Roster.own`."""

    def claim(self, thread_id: str) -> Lease | None:
        """Take the right to drive a thread, and return it. Return None if another process has the right."""
        ...

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Renew `leases`. Return the leases that are lost because another process has taken them.

        This method is for an engine that runs on several machines.
        """
        ...

    def release(self, lease: Lease, *, more: bool) -> None:
        """Give up the right to drive a thread. `more` is True if the thread has unfinished work."""
        ...

    def wake(self, thread_id: str) -> None:
        """Let the driver of the thread tick (make its next step) soon, even if it is in another process."""
        ...
