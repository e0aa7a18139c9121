"""What the drivers of one runtime share, and what one tick of a driver comes to."""

from __future__ import annotations

import random

import attrs

from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.protocols import Backend, Clock, Ownership, Store
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.errors import AgentNotAlive, StoreTaken

__all__ = ["DriverContext", "Outcome", "not_alive"]


@attrs.frozen(kw_only=True)
class DriverContext:
    """What the drivers of one runtime share.

    Attributes:
        gate: stands between all threads of the key and the API.
        webhooks: what the server has told of by itself.
        ownership: wakes a thread, wherever it is driven.
    """

    backend: Backend
    store: Store
    clock: Clock
    gate: Gate
    webhooks: Webhooks
    ownership: Ownership
    random: random.Random


@attrs.frozen(kw_only=True)
class Outcome:
    """What one tick came to; whoever asked for the tick acts on it.

    Attributes:
        due: when to tick again, in monotonic seconds; None for not by itself.
        idle: why the thread is to be taken out if nothing has come in since; None if it stays.
        lost: says who drives the thread now, so that it must be taken out, whatever it is at; None if it stays.
        left: True once a stopped driver has ended its last tick.
    """

    due: float | None = None
    idle: str | None = None
    lost: StoreTaken | None = None
    left: bool = False


def not_alive(thread_id: str, reason: str | None, taken: StoreTaken | None) -> AgentNotAlive:
    """Return the error of a stopped agent. `taken` says who drives the thread now, if another process does."""
    if taken is not None and reason in (None, "store_taken"):
        return StoreTaken(*taken.args)
    then = "make a new runtime and connect" if reason == "runtime_closed" else "connect again"
    return AgentNotAlive(f"The agent of {thread_id} was stopped ({reason}); {then}.")
