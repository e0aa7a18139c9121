"""What one thread does next: the request to make now, or the time to come back."""

from __future__ import annotations

import random
from collections.abc import Iterable

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.settings import MAX_RETRY_AFTER, Settings

__all__ = ["Agenda", "longest_pause"]

_RECOVERY = 1.0
"""Seconds until a thread on which a defect of ours dropped an input continues."""


class Agenda:
    """The request that is due, or the timer that is set. Only the beginning of a driver and its ticks touch it.

    Attributes:
        request: the request to make now; None while the timer runs, and if there is nothing to do.
        due: when the timer is over, in monotonic seconds; None without one.
        when_due: what the machine is told then.
        held_by_gate: True while the request waits for its time at the gate, and not for one of its own.
    """

    __slots__ = ("_clock", "_random", "due", "held_by_gate", "request", "when_due")

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._random = rng
        self.request: effects.Request | None = None
        self.due: float | None = None
        self.when_due: inputs.TimerDue | inputs.Resume = inputs.TimerDue()
        self.held_by_gate = False

    def after(
        self, wanted: Iterable[effects.Effect], min_pause: float = 0.0
    ) -> tuple[effects.Request | None, float | None]:
        """Return the next request and due time after these effects: the last that was wanted replaces the others.

        A pause is at least `min_pause` seconds long.
        """
        request, due = self.request, self.due
        for effect in wanted:
            if isinstance(effect, effects.Wait):
                pause = max(effect.seconds + effect.spread * self._random.random(), min_pause)
                request, due = None, self._clock.monotonic() + pause
            elif isinstance(effect, effects.Stop):
                request, due = None, None
            elif not isinstance(effect, effects.Ignore):
                request, due = effect, None
        return request, due

    def follow(self, request: effects.Request | None, due: float | None) -> None:
        """Go by what `after` returned, once it is saved."""
        self.held_by_gate = self.held_by_gate and (request, due) == (self.request, self.due)
        self.request, self.due = request, due

    def hold(self, due: float | None) -> None:
        """Let the request wait at the gate until `due`."""
        self.request, self.due, self.held_by_gate = None, due, True

    def come_back_now(self) -> None:
        """Let the timer be over at once."""
        self.due = self._clock.monotonic()

    def recover(self) -> None:
        """Continue a little later, as after a crash."""
        self.due, self.when_due = self._clock.monotonic() + _RECOVERY, inputs.Resume()

    @property
    def is_empty(self) -> bool:
        """True without a request and without a timer."""
        return self.request is None and self.due is None

    @property
    def is_due(self) -> bool:
        """True when the timer is over."""
        return self.request is None and self.due is not None and self._clock.monotonic() >= self.due

    def take_due(self) -> inputs.TimerDue | inputs.Resume:
        """Return what the machine is told of the timer that is over; the next one is an ordinary one."""
        fact, self.when_due = self.when_due, inputs.TimerDue()
        return fact


def longest_pause(snapshot: Snapshot, settings: Settings) -> float:
    """Return the seconds that a request which waits for its time can have been told to wait at most.

    Due times are saved as times of day. If the clock was set back since, a pause would seem to last until then.
    """
    pending = snapshot.pending
    if pending is not None and (pending.tries or pending.failures):
        # How long the server asked to wait is not saved.
        delays = (settings.request_retry_max_delay, settings.tool_output_retry_delay)
        return max(MAX_RETRY_AFTER, settings.outcome_grace, *delays)
    if snapshot.state is State.RATE_LIMITED:
        return settings.rate_limit_retry_delay
    if snapshot.state is State.AWAITING_TOOLS:
        return settings.idle_timeout
    # While webhooks arrive, polls are rarer; a process that has begun has seen none yet.
    return settings.heartbeat_interval if snapshot.polls else max(settings.heartbeat_interval, settings.outcome_grace)
