"""Random plans for the runs of a simulation: rounds of tool calls, pauses, and an end that is usually good."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gpt_agent_fsm.testing.simulation import functions
from gpt_agent_fsm.testing.simulation.equipment import Equipment
from gpt_agent_fsm.testing.simulation.troubles import Wire
from gpt_agent_fsm.testing.steps import LIMITED, Answer, Ask, Call, Fail, Linger, Step, Stuck

__all__ = ["random_plan", "random_round", "with_trouble"]

_CALLS = (("f", "{}"), ("g", '{"x":1}'), ("h", "{broken"))


def _round_by_hand(rng: random.Random) -> Call:
    return Call(_CALLS[: rng.randint(1, 3)])


def random_round(rng: random.Random, equipment: Equipment, wire: Wire) -> Call:
    """Return one round of tool calls. Functions or users answer the calls, or the server itself makes them."""
    pool = (*_CALLS, *functions.CALLS) if equipment.functions else _CALLS
    calls = tuple(rng.choices(pool, k=rng.randint(1, 3)))
    if not equipment.by_server or rng.random() < 0.5:
        return Call(calls)
    by_server = (("lookup", "{}"), ("search", '{"q":"x"}'))[: rng.randint(1, 2)]
    return Call(calls if wire == "responses" and rng.random() < 0.5 else (), by_server)


def random_plan(rng: random.Random, make_round: Callable[[random.Random], Call] = _round_by_hand) -> Sequence[Step]:
    """Return the steps of one run: up to three pauses or tool rounds, and then an end, which is usually an answer."""
    steps: list[Step] = []
    for _ in range(rng.randint(0, 3)):
        asked = make_round(rng)
        choice: list[Step] = [Linger(rng.randint(1, 3)), asked]
        steps.append(rng.choice(choice))
    ends: list[Step] = [Answer(f"answer {rng.random()}"), Answer(""), Fail(), LIMITED]
    return [*steps, rng.choices(ends, [8, 1, 1, 1])[0]]


def with_trouble(plan: Sequence[Step], rng: random.Random, asks: Sequence[str]) -> Sequence[Step]:
    """Return a plan for a run that never ends by itself. The run stays in progress, or waits for one of the `asks`."""
    kept = plan[: rng.randint(0, len(plan) - 1)]
    ends: list[Step] = [Stuck(), *map(Ask, asks)]
    return [*kept, rng.choice(ends)]
