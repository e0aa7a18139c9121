"""The interface between an agent and its thread, which is a driver in this process or a handle of a cluster."""

from __future__ import annotations

from typing import Protocol

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.waiters import Waiters
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["Thread"]


class Thread(Protocol):
    """A thread as its agent sees it. A `Driver` is one; in a cluster, a handle follows the thread from afar.

    Attributes:
        settings: the settings of this thread.
        stop_reason: why the agent was stopped; None while it is alive.
    """

    thread_id: str
    settings: Settings
    announcer: Announcer
    waiters: Waiters
    stop_reason: str | None

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of the thread."""
        ...

    @property
    def has_stopped(self) -> bool:
        """True after the agent was stopped."""
        ...

    def check_alive(self) -> None:
        """Raise `AgentNotAlive` if the agent was stopped, and `StoreTaken` if another process has the store."""
        ...

    def send(self, command: inputs.Command) -> None:
        """Save a command, and let it be handled soon."""
        ...

    def join(self, handler: signals.Handler | None, replay_after: int | None, *, stream: bool = False) -> None:
        """See `Announcer.join`."""
        ...

    def commands(self) -> list[inputs.Command]:
        """Return the commands that the snapshot does not contain yet, oldest first."""
        ...

    def is_settled(self) -> bool:
        """Return whether no run is active, and nothing is queued, in flight, unread or unannounced."""
        ...

    def explain(self) -> str:
        """See `Agent.explain`."""
        ...

    def answers(self, name: str) -> bool:
        """Return whether a function of this program answers calls with this name."""
        ...
