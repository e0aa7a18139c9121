"""The plans of the runs in a life: rounds of tool calls, pauses, and an end that is usually good."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.testing.server import Answer, Ask, Call, Fail, Linger, Step, Stuck

__all__ = ["random_plan", "with_trouble"]

_CALLS = (("f", "{}"), ("g", '{"x":1}'), ("h", "{broken"))


def random_plan(rng: random.Random) -> Sequence[Step]:
    """Return the steps of one run: up to three pauses or tool rounds, then an end; eight of eleven ends are answers."""
    steps: list[Step] = []
    for _ in range(rng.randint(0, 3)):
        asked = _CALLS[: rng.randint(1, 3)]
        choice: list[Step] = [Linger(rng.randint(1, 3)), Call(asked)]
        steps.append(rng.choice(choice))
    limit = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")
    ends: list[Step] = [Answer(f"answer {rng.random()}"), Answer(""), Fail(), limit]
    return [*steps, rng.choices(ends, [8, 1, 1, 1])[0]]


def with_trouble(plan: Sequence[Step], rng: random.Random, asks: Sequence[str]) -> Sequence[Step]:
    """Return a plan that stops somewhere: the run stays in progress, or waits for one of the `asks`."""
    kept = plan[: rng.randint(0, len(plan) - 1)]
    ends: list[Step] = [Stuck(), *map(Ask, asks)]
    return [*kept, rng.choice(ends)]
