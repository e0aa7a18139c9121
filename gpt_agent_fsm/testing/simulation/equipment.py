"""The equipment of a life: its functions, approvals, token limits, streams, and messages that interrupt a run.

A life is one simulated set of conversations. The seed decides about the equipment, independently of everything else.
About half of the lives have no equipment. In a life without equipment, users answer all tool calls.
"""

from __future__ import annotations

import random

import attrs

__all__ = ["BARE", "PLENTY", "Equipment", "random_equipment"]

PLENTY = 1_000_000
"""A token limit that no life reaches."""
_LIMITS = (2, 5, 10)


@attrs.frozen(kw_only=True)
class Equipment:
    """The equipment of one life, which is one simulated set of conversations.

    Attributes:
        functions: True if functions answer tool calls.
        kills: the probability that the process is killed inside a function, for each execution of a function.
        by_server: True if the server asks for approvals of the calls that the server itself makes.
        approval_timeout, tool_workers, max_tool_rounds, max_total_tokens: the settings with these names.
        limits: True if the users set and change the token limits of their threads.
        interrupts: the probability that a user's message interrupts the run in progress.
        streams: the number of runs that may be read as streams at the same time; None if the users want no streams.
        leaves_notes: the probability, for each process, that the store says that its data end with the process, so that
            backends leave the ids of runs on the server.
        silent: the probability, for each agent, that the user subscribes only in order to answer open calls.
    """

    functions: bool = False
    kills: float = 0.0
    by_server: bool = False
    approval_timeout: float | None = None
    tool_workers: int = 8
    max_tool_rounds: int | None = None
    max_total_tokens: int | None = None
    limits: bool = False
    interrupts: float = 0.0
    streams: int | None = None
    leaves_notes: float = 0.0
    silent: float = 0.0

    @property
    def has_limits(self) -> bool:
        """True if tokens are limited, at least some of the time."""
        return self.limits or self.max_total_tokens is not None

    @property
    def needs_decisions(self) -> bool:
        """True if tool calls may need an approval."""
        return self.functions or self.by_server

    def random_limit(self, rng: random.Random) -> int:
        """Return a random token limit for a thread."""
        return rng.choice([*_LIMITS, PLENTY])


BARE = Equipment()


def random_equipment(rng: random.Random) -> Equipment:
    """Return the equipment of a life. About half of the lives have none."""
    if rng.random() < 0.5:
        return BARE
    has_functions = rng.random() < 0.8
    return Equipment(
        functions=has_functions,
        kills=rng.choice([0.0, 0.2]),
        by_server=rng.random() < 0.4,
        approval_timeout=rng.choice([None, 3.0, 60.0]),
        tool_workers=rng.choice([1, 2, 8]),
        max_tool_rounds=rng.choice([None, None, None, 2]),
        max_total_tokens=rng.choice([None, None, *_LIMITS]),
        limits=rng.random() < 0.3,
        interrupts=rng.choice([0.0, 0.0, 0.3]),
        streams=rng.choice([None, 1, 8]),
        leaves_notes=rng.choice([0.0, 0.0, 0.5, 1.0]),
        silent=rng.choice([0.0, 0.0, 0.5, 1.0]),
    )
