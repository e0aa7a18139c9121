"""Makes the roster of a runtime: one of drivers in this process, or the one that a shared store makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.handles import HandleParts, RosterStore, ThreadRoster
from gpt_agent_fsm.engine.protocols import AgentHandle, Backend, Ownership, Scheduler, Store
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.tool_desk import functions_of
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.tools import ToolBox

__all__ = ["roster_of"]


def roster_of(
    store: Store,
    backend: Backend,
    scheduler: Scheduler,
    settings: Settings,
    rng: random.Random,
    make_agent: Callable[[Thread], AgentHandle],
    tools: ToolBox,
) -> ThreadRoster:
    """Return the roster of the threads in this store. The arguments are those of `Roster`."""

    def make(
        store: Store,
        make_ownership: Callable[[Roster], Ownership] | None = None,
        rests_for: float | None = None,
        gate: Gate | None = None,
    ) -> Roster:
        return Roster(
            backend, store, scheduler, settings, rng, make_agent, make_ownership, tools, rests_for=rests_for, gate=gate
        )

    if not offers(store, RosterStore):
        return make(store)
    parts = HandleParts(
        backend=backend,
        scheduler=scheduler,
        settings=settings,
        make_agent=make_agent,
        make_roster=make,
        answers=partial(_answers, tools, backend),
    )
    return store.make_roster(parts)


def _answers(tools: ToolBox, backend: Backend, name: str) -> bool:
    return (tools | functions_of(backend)).get(name) is not None
