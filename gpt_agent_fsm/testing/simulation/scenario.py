"""Simulates one life, from its start to the check of its promises."""

from __future__ import annotations

import random
from collections.abc import Callable

from gpt_agent_fsm.machine.marks import rows_taken
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing.network import Faults
from gpt_agent_fsm.testing.simulation.equipment import BARE, Equipment, random_equipment
from gpt_agent_fsm.testing.simulation.invariants import violations_of
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.troubles import NONE, Troubles, random_troubles
from gpt_agent_fsm.testing.simulation.world import HONEST, Wire, World

__all__ = ["simulate"]


def simulate(
    seed: int,
    faults: Faults = HONEST,
    *,
    keeps_keys: bool = True,
    wire: Wire = "assistants",
    make_store: Callable[[], Store] = MemoryStore,
    wrap: Callable[[Backend], Backend] = lambda backend: backend,
    troubles: Troubles | None = None,
    equipment: Equipment | None = None,
) -> Life:
    """Simulate the life of a seed. Return it with its violations and with the rows of the table that it took.

    Args:
        seed: decides everything.
        faults: the faults of the network. With `HONEST` faults, nothing may be lost or done twice.
        keeps_keys: False for a server that drops metadata.
        wire: the API of the server.
        make_store: returns the store, which survives the processes.
        wrap: wraps the backend, to break it on purpose.
        troubles: what is unusual in this life. By default the seed decides. With breaking faults, there are no
            troubles.
        equipment: the functions and limits of this life; by default the seed decides.
    """
    life = Life(seed)
    if troubles is None:
        # A network or server that violates the model is trouble enough.
        troubles = random_troubles(_random("troubles", seed), wire) if faults == HONEST and keeps_keys else NONE
    if equipment is None:
        equipment = random_equipment(_random("equipment", seed))
    life.journal += [f"{each}" for each in (troubles, equipment) if each not in (NONE, BARE)]
    with rows_taken() as life.rows:
        world = World(
            life,
            faults,
            make_store,
            wrap,
            keeps_keys=keeps_keys,
            wire=wire,
            troubles=troubles,
            equipment=equipment,
        )
        settled = world.run()
    for user in world.users:
        for sentence in violations_of(world.facts(user, settled=settled)):
            life.violations.append(f"{user.thread_id}: {sentence}")
    life.requests = sum(": " in line for line in life.journal)
    return life


def _random(purpose: str, seed: int) -> random.Random:
    """Return the random numbers of a life for one purpose.

    So a change in one purpose does not change the numbers of the others.
    """
    return random.Random(f"{purpose} {seed}")  # noqa: S311 - a life must be repeatable
