"""The data of the pages. They come from a runtime, or from a store alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.engine.handles import RosterStore
from gpt_agent_fsm.engine.history import history_page
from gpt_agent_fsm.engine.showing import NOT_CONNECTED, NOT_HELD, NOT_TAKEN
from gpt_agent_fsm.ports import ListingStore, Saved, Store, ThreadRow, offers
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.stores.holder import is_held

__all__ = ["AgentHost", "Source"]


@runtime_checkable
class AgentHost(Protocol):
    """The part of a `Runtime` that the pages use."""

    @property
    def agents(self) -> Sequence[Agent]:
        """The agents that are alive."""

    @property
    def settings(self) -> Settings:
        """The settings of the agents."""

    @property
    def store(self) -> Store:
        """The store of the threads."""

    def get(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread, or None if there is none."""

    def follow(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread, and make it if the threads are shared with other processes."""

    def add_trace(self, trace: Callable[[str, Mapping[str, Any]], object]) -> Callable[[], None]:
        """Call `trace(name, info)` from now on. Return a function that ends this."""


class Source:
    """The threads of a runtime, or of a store.

    Attributes:
        runtime: None for a store alone, whose threads are only shown.
        settings: the settings of the runtime. For a store alone, they come from the environment, as for the commands.
    """

    def __init__(self, given: AgentHost | Store) -> None:
        self.runtime: AgentHost | None = None
        if offers(given, Store):
            self.store: Store = given
            self.settings: Settings = Settings.from_env()
        elif offers(given, AgentHost):
            self.runtime, self.store, self.settings = given, given.store, given.settings
        else:
            raise TypeError(f"inspector: give a Runtime or a Store, not {given!r:.100}")

    @property
    def is_shared(self) -> bool:
        """True if other processes may drive the threads of the runtime, as in a cluster."""
        return self.runtime is not None and offers(self.store, RosterStore)

    @property
    def lists_all(self) -> bool:
        """False if the store cannot list its threads. Then only threads with unfinished work or an agent are known."""
        return offers(self.store, ListingStore)

    def rows(self) -> list[ThreadRow]:
        """Return the threads. The thread with the newest event is the first."""
        if offers(self.store, ListingStore):
            rows = list(self.store.threads())
        else:
            agents = () if self.runtime is None else self.runtime.agents
            known = {*self.store.unfinished(), *(agent.thread_id for agent in agents)}
            rows = [row for row in map(self.row, sorted(known)) if row is not None]
        return sorted(rows, key=lambda row: row.last_event_at or 0.0, reverse=True)

    def row(self, thread_id: str) -> ThreadRow | None:
        """Return one thread as in the list, or None for an unknown thread."""
        saved = self.store.load(thread_id)
        return None if saved is None else self._row_of(saved)

    def _row_of(self, saved: Saved) -> ThreadRow:
        newest = history_page(self.store, saved.snapshot.thread_id, 0, 1, newest=True)
        kind, at = (type(newest[-1].event).__name__, newest[-1].at) if newest else (None, None)
        return ThreadRow(snapshot=saved.snapshot, last_event=kind, last_event_at=at, commands=len(saved.inbox))

    def knows(self, thread_id: str) -> bool:
        """Return whether this is a thread of the runtime or the store."""
        return self.agent(thread_id) is not None or self.store.load(thread_id) is not None

    def agent(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread. Return None if there is none, and for a store alone."""
        return None if self.runtime is None else self.runtime.get(thread_id)

    def takes_commands(self, thread_id: str) -> bool:
        """Return whether `commander` yields an agent."""
        return self.is_shared or self.agent(thread_id) is not None

    @contextlib.contextmanager
    def commander(self, thread_id: str) -> Iterator[Agent | None]:
        """Yield the agent that gives commands to a thread; None if there is none.

        If the threads are shared with other processes, the agent may be made for this purpose. It then lives only in
        the `with` block.
        """
        agent = self.agent(thread_id)
        made = self.runtime.follow(thread_id) if agent is None and self.runtime is not None else None
        try:
            yield agent or made
        finally:
            if made is not None:
                made.shutdown()

    def halt(self, saved: Saved | None = None) -> str:
        """Return a sentence that says why nothing happens to a thread, or to all; "" if something drives it."""
        if self.runtime is None:
            return "" if is_held(self.store) else NOT_HELD
        if saved is None or self.runtime.get(saved.snapshot.thread_id) is not None:
            return ""
        if self.is_shared:
            return NOT_TAKEN if saved.inbox else ""
        return NOT_CONNECTED
