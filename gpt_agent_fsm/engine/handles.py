"""The interfaces between a runtime and what is behind it: drivers in this process, or a store that processes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import attrs

from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.protocols import AgentHandle, Backend, Ownership, Scheduler, Store
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.webhooks import Notice
from gpt_agent_fsm.errors import StoreTaken
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["HandleParts", "MakeRoster", "RosterStore", "ThreadRoster"]


class ThreadRoster(Protocol):
    """The threads of one runtime, as the runtime and its agents see them. A `Roster` is one."""

    @property
    def origin(self) -> Origin:
        """The process that made the runtime."""
        ...

    @property
    def backend(self) -> Backend:
        """The API."""
        ...

    @property
    def store(self) -> Store:
        """The store of the threads."""
        ...

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the runtime."""
        ...

    @property
    def trace(self) -> Trace:
        """The trace hooks of the runtime."""
        ...

    def get(self, thread_id: str) -> Thread | None:
        """Return the thread that has a live agent, or None."""
        ...

    def follow(self, thread_id: str) -> Thread | None:
        """See `Roster.follow`."""
        ...

    @property
    def drivers(self) -> tuple[Thread, ...]:
        """The threads that have a live agent."""
        ...

    @property
    def driven(self) -> tuple[Thread, ...]:
        """The threads that this process drives."""
        ...

    def check_open(self) -> None:
        """Raise `RuntimeClosed` after `close`, and `UsedAfterFork` in a child of the process."""
        ...

    def connect(
        self, start: Snapshot, settings: Settings, connection: Connection, known: inputs.RunsListed | None = None
    ) -> Thread | None:
        """See `Roster.connect`."""
        ...

    def remove(self, thread: Thread, reason: str, taken: StoreTaken | None = None) -> None:
        """Remove the agent of a thread immediately."""
        ...

    def wake_by_webhook(self, notice: Notice) -> bool:
        """See `Roster.wake_by_webhook`."""
        ...

    def await_tools(self, timeout: float) -> None:
        """See `Roster.await_tools`."""
        ...

    def close(self) -> None:
        """See `Roster.close`."""
        ...

    def release_all(self) -> None:
        """See `Roster.release_all`."""
        ...


class MakeRoster(Protocol):
    """Makes a roster with everything that the runtime was given, except for these arguments of `Roster`."""

    def __call__(
        self,
        store: Store,
        make_ownership: Callable[[Roster], Ownership] | None,
        rests_for: float | None,
        gate: Gate | None,
    ) -> Roster:
        """Return the roster."""
        ...


@attrs.frozen(kw_only=True)
class HandleParts:
    """What a store needs to make the roster of a runtime.

    Attributes:
        make_agent: returns the agent of a thread, which is the sender of the thread's events.
        make_roster: returns the roster of the drivers in this process.
        answers: returns whether a function of this runtime answers calls with this name.
    """

    backend: Backend
    scheduler: Scheduler
    settings: Settings
    make_agent: Callable[[Thread], AgentHandle]
    make_roster: MakeRoster
    answers: Callable[[str], bool]


@runtime_checkable
class RosterStore(Protocol):
    """A store whose threads are driven elsewhere, and which therefore makes the roster of a runtime."""

    def make_roster(self, parts: HandleParts) -> ThreadRoster:
        """Return the roster of a runtime on this store."""
        ...
