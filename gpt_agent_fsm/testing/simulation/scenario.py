"""Simulates one life, from its start to the check of its promises."""

from __future__ import annotations

import random
from collections.abc import Callable

from gpt_agent_fsm.machine.marks import rows_taken
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.testing.network import Faults
from gpt_agent_fsm.testing.simulation.equipment import BARE, Equipment, random_equipment
from gpt_agent_fsm.testing.simulation.invariants import violations_of
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.rows import RowStore
from gpt_agent_fsm.testing.simulation.troubles import NONE, Troubles, random_troubles
from gpt_agent_fsm.testing.simulation.world import HONEST, Wire, World

__all__ = ["simulate"]


def simulate(
    seed: int,
    faults: Faults = HONEST,
    *,
    keeps_keys: bool = True,
    wire: Wire = "assistants",
    make_store: Callable[[], Store] = RowStore,
    wrap: Callable[[Backend], Backend] = lambda backend: backend,
    troubles: Troubles | None = None,
    equipment: Equipment | None = None,
    cluster: bool = False,
) -> Life:
    """Simulate the life of a seed. Return the life, with its violations and the rows of the table that it took.

    Args:
        seed: the number from which all random numbers of the life are made.
        faults: the faults of the network. With `HONEST` faults, nothing may be lost or done twice.
        keeps_keys: False for a server that drops metadata.
        wire: the API of the server.
        make_store: a function that returns the store. All processes of the life use this store.
        wrap: a function that wraps the backend, for example to break it on purpose.
        troubles: the unusual circumstances of this life. By default, the seed decides. But if the faults are not
            `HONEST`, or `keeps_keys` is False, there are no troubles by default.
        cluster: True if several workers share the store, and the users' agents are in a process of their own.
        equipment: the functions, limits and streams of this life; by default, the seed decides.
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
            cluster=cluster,
            equipment=equipment,
        )
        settled = world.run()
    for user in world.users:
        for sentence in violations_of(world.facts(user, settled=settled)):
            life.violations.append(f"{user.thread_id}: {sentence}")
    life.requests = sum(": " in line for line in life.journal)
    return life


def _random(purpose: str, seed: int) -> random.Random:
    """Return a source of random numbers that a life uses for one purpose only.

    So a change in the use for one purpose does not change the random numbers for another purpose.
    """
    return random.Random(f"{purpose} {seed}")  # noqa: S311 - a life must be repeatable
