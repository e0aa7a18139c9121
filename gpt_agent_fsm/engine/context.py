"""The objects that all drivers of one runtime share, and the outcome of one tick."""

from __future__ import annotations

import random
from functools import partial

import attrs

from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.protocols import Backend, Clock, Ownership, Scheduler, SharedStore, Store
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.engine.runner import call_limits
from gpt_agent_fsm.engine.streams import Streams
from gpt_agent_fsm.engine.tool_desk import Tooling, functions_of
from gpt_agent_fsm.engine.tool_jobs import ToolJobs
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.errors import AgentNotAlive, StoreTaken
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.tools import ToolBox

__all__ = ["DriverContext", "Outcome", "driven_elsewhere", "not_alive", "shared_context"]


@attrs.frozen(kw_only=True)
class DriverContext:
    """The objects that all drivers of one runtime share.

    Attributes:
        gate: the gate, which admits requests or holds them back. All threads share the gate, because they share the
            limits of the API key.
        webhooks: the webhooks that the server has sent.
        tooling: the tools that answer calls.
        streams: the streams of runs.
        ownership: the object that wakes the driver of a thread, in this process or another.
        trace: the trace hooks.
        shared: the store, if other processes have handles of its threads; otherwise None.
    """

    backend: Backend
    store: Store
    clock: Clock
    gate: Gate
    webhooks: Webhooks
    ownership: Ownership
    tooling: Tooling
    streams: Streams
    random: random.Random
    trace: Trace
    shared: SharedStore | None = None


def shared_context(
    backend: Backend,
    store: Store,
    scheduler: Scheduler,
    settings: Settings,
    rng: random.Random,
    ownership: Ownership,
    tools: ToolBox,
    trace: Trace,
    gate: Gate | None,
) -> DriverContext:
    """Make what all drivers of a roster share. The arguments are those of `Roster`."""
    clock, wake, later = scheduler.clock, ownership.wake, getattr(scheduler, "call_later", None)
    jobs = ToolJobs(clock, settings.tool_workers, wake, later and partial(later, 0.0))
    return DriverContext(
        backend=backend,
        store=store,
        clock=clock,
        gate=gate or Gate(clock, settings),
        webhooks=Webhooks(clock),
        ownership=ownership,
        tooling=Tooling(tools, lambda: functions_of(backend), jobs, clock, settings.receive_timeout, trace),
        streams=Streams(settings.streams, lambda: call_limits(clock, settings), wake, later, clock.monotonic),
        random=rng,
        trace=trace,
        shared=store if offers(store, SharedStore) else None,
    )


@attrs.frozen(kw_only=True)
class Outcome:
    """The outcome of one tick (one step of a driver). The caller acts on it.

    Attributes:
        due: when to tick again, in monotonic seconds; None if no timer is set.
        idle: the reason why the driver must be removed, unless a command has arrived; None if the driver stays.
        lost: the error of a driver that must be removed because another process drives the thread now; None if the
            driver stays.
        left: True if the driver was stopped and this was its last tick.
    """

    due: float | None = None
    idle: str | None = None
    lost: StoreTaken | None = None
    left: bool = False


def not_alive(thread_id: str, reason: str | None, taken: StoreTaken | None) -> AgentNotAlive:
    """Return the error of a stopped agent.

    `taken` is the error to return if another process drives the thread now; otherwise None.
    """
    if taken is not None and reason in (None, "store_taken"):
        return StoreTaken(*taken.args)
    then = "make a new runtime and connect" if reason == "runtime_closed" else "connect again"
    return AgentNotAlive(f"The agent of {thread_id} was stopped ({reason}); {then}.")


def driven_elsewhere(thread_id: str) -> StoreTaken:
    """Return the error for a thread that this process may no longer drive."""
    return StoreTaken(f"{thread_id} is driven by another process now.")
