"""The troubles of a life: unusual behaviour of a server, network, clock or person, besides the faults of requests.

The seed decides the troubles, independently of everything else. About half of the lives have none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import attrs

from gpt_agent_fsm.testing.answers import DENIALS, random_page
from gpt_agent_fsm.testing.habits import Cancels, Habits, Refusal
from gpt_agent_fsm.testing.network import Outage

__all__ = ["NONE", "Troubles", "Wire", "random_troubles"]

Wire: TypeAlias = Literal["assistants", "responses"]

_LIKELY = 0.3
_REFUSALS = (
    Refusal(code="content_filter"),
    Refusal(code="context_length_exceeded"),
    Refusal(code="invalid_prompt"),
    Refusal(code="string_above_max_length", param="input[0].content"),
    Refusal(param="prompt"),
    Refusal(status=413, of_message=True),
    Refusal(param="content", of_message=True),
)
_ASKS: Mapping[Wire, tuple[str, ...]] = {
    "assistants": ("submit_tool_approval",),
    "responses": ("mcp_approval_request", "custom_tool_call", "computer_call", "local_shell_call"),
}
_ANY = r".*"
_LISTS = r"GET .*/(messages|items)"
_CREATIONS = r"POST (.*/runs|/responses)"
_POLLS = r"GET (.*/runs/.*|/responses/[^/]*)"
_JUMPS = (-1e7, -3600.0, -60.0, 60.0, 3600.0, 1e7)


@attrs.frozen(kw_only=True)
class Troubles:
    """The unusual circumstances of one life. Each probability is per occasion.

    Attributes:
        habits: the differences between the server and OpenAI's server.
        outages: the periods in which certain requests have no effect.
        gateway, slow: the probabilities with these names in `Faults`.
        stuck: the probability that a run never ends by itself.
        asks: the types of what a stuck run may wait for.
        takeover: the probability that the next process takes the store over while the former process and its functions
            still run.
        pause: the probability that the process is stopped for a while. This happens in a function, or between the
            commit that marks a request as sent and the sending of the request.
        clock: the probability that somebody sets the wall clock.
        commands: the probability that a user cancels the run, discards the queue, or connects again.
        run_timeout, tool_timeout: the settings with these names.
        gives_up: True if the users cancel and discard everything at the end, while the server keeps its habits.
        hasty: True if the users do not wait for their threads to come to rest before the end.
    """

    habits: Habits = attrs.field(factory=Habits)
    outages: tuple[Outage, ...] = ()
    gateway: float = 0.0
    slow: float = 0.0
    stuck: float = 0.0
    asks: tuple[str, ...] = ()
    takeover: float = 0.0
    pause: float = 0.0
    clock: float = 0.0
    commands: float = 0.0
    run_timeout: float | None = None
    tool_timeout: float | None = None
    gives_up: bool = False
    hasty: bool = False

    @property
    def has_endless_outage(self) -> bool:
        """True if an outage lasts until the end of the life."""
        return any(outage.until == math.inf for outage in self.outages)

    @property
    def has_deadlines(self) -> bool:
        """True if every run has a deadline, even one that waits for a person."""
        return self.run_timeout is not None and self.tool_timeout is not None

    def random_jump(self, rng: random.Random) -> float:
        """Return a random number of seconds, by which the wall clock is wrong from now on."""
        return rng.choice(_JUMPS)


NONE = Troubles()


def random_troubles(rng: random.Random, wire: Wire) -> Troubles:
    """Return the troubles of a life. About half of the lives have none."""
    if rng.random() < 0.5:
        return NONE

    def sometimes(value: float) -> float:
        return value if rng.random() < _LIKELY else 0.0

    has_deadlines, gives_up = rng.random() < 0.5, rng.random() < _LIKELY
    troubles = Troubles(
        habits=_random_habits(rng),
        outages=tuple(_random_outage(rng) for _ in range(rng.choice([0, 0, 1, 2]))),
        gateway=sometimes(0.1),
        slow=sometimes(0.08),
        stuck=sometimes(0.3),
        asks=_ASKS[wire],
        takeover=sometimes(0.1),
        pause=sometimes(0.1),
        clock=sometimes(0.3),
        commands=sometimes(0.3),
        run_timeout=rng.choice([20.0, 90.0]) if has_deadlines else None,
        tool_timeout=rng.choice([10.0, 60.0]) if has_deadlines else None,
        gives_up=gives_up,
        hasty=gives_up and rng.random() < 0.5,
    )
    # These values are drawn last, so that they do not change the other troubles of a seed.
    outdated_polls = rng.choice([3, 12]) if rng.random() < _LIKELY else 0
    hides_sources = rng.random() < 0.5
    habits = attrs.evolve(troubles.habits, outdated_polls=outdated_polls, hides_sources=hides_sources)
    if rng.random() < _LIKELY:
        habits = attrs.evolve(habits, order="newest first")
    if rng.random() < _LIKELY:
        habits = attrs.evolve(habits, ignores_cursor=True)
    habits = attrs.evolve(
        habits,
        respells_arguments=rng.random() < _LIKELY,
        copies_keys=rng.random() < _LIKELY,
        leaves_out_calls=rng.random() < _LIKELY,
        coarse_times=rng.random() < _LIKELY and habits.order == "requested",
        forgets_runs=rng.random() < _LIKELY,
    )
    return attrs.evolve(troubles, habits=habits)


def _random_habits(rng: random.Random) -> Habits:
    words = [f"{user}.{number}" for user in range(3) for number in range(4)]
    refused = rng.random() < _LIKELY
    return Habits(
        cancels=rng.choice(get_args(Cancels)) if rng.random() < _LIKELY else "obeyed",
        order="oldest first" if rng.random() < _LIKELY else "requested",
        lists_context=rng.random() < _LIKELY,
        refusals={word: rng.choice(_REFUSALS) for word in words if refused and rng.random() < _LIKELY},
    )


def _random_outage(rng: random.Random) -> Outage:
    since = rng.uniform(0, 200)
    until = since + rng.choice([30.0, 300.0, math.inf])
    requests = rng.choice([_ANY, _LISTS, _CREATIONS, _POLLS])
    answer = rng.choice(DENIALS) if requests == _CREATIONS else random_page(rng)
    return Outage(requests=requests, since=since, until=until, answer=answer)
