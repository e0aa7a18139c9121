"""The next step of one thread: the request to make now, or the time of the next tick."""

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
"""Seconds until a thread continues after an input was dropped because of a defect of the library."""


_TIMER_DUE = inputs.TimerDue()


class Agenda:
    """The next step of one thread: a request that must be made now, or a timer. Each driver has one agenda.

    Attributes:
        request: the request to make now; None while the timer runs, or if there is nothing to do.
        due: when the timer ends, in monotonic seconds; None without a timer.
        when_due: the input that the machine gets when the timer has ended.
        held_by_gate: True while the request waits for the gate, which shares the rate limits of an API key between
            threads. False while the request waits for its own delay.
    """

    __slots__ = ("_clock", "_random", "due", "held_by_gate", "request", "when_due")

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._random = rng
        self.request: effects.Request | None = None
        self.due: float | None = None
        self.when_due: inputs.TimerDue | inputs.Resume = _TIMER_DUE
        self.held_by_gate: bool = False

    def after(
        self, wanted: Iterable[effects.Effect], min_pause: float = 0.0
    ) -> tuple[effects.Request | None, float | None]:
        """Return the request and the due time that follow from these effects. A later effect replaces an earlier one.

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
        """Set the request and the due time that the method `after` has returned. Call this after both were saved."""
        self.held_by_gate = self.held_by_gate and (request, due) == (self.request, self.due)
        self.request, self.due = request, due

    def hold(self, due: float | None) -> None:
        """Clear the request and set the timer to `due`.

        Until `due`, the gate (the shared rate limit) holds the request back.
        """
        self.request, self.due, self.held_by_gate = None, due, True

    def come_back_now(self) -> None:
        """End the timer now, so that the next step is due immediately."""
        self.due = self._clock.monotonic()

    def recover(self) -> None:
        """Set the timer to `_RECOVERY` seconds from now. When it ends, the thread continues as after a crash."""
        self.due, self.when_due = self._clock.monotonic() + _RECOVERY, inputs.Resume()

    @property
    def due_time(self) -> float | None:
        """The time at which the timer ends, in seconds since the epoch; None without a timer."""
        return None if self.due is None else self._clock.time() + self.due - self._clock.monotonic()

    @property
    def is_empty(self) -> bool:
        """True if there is no request and no timer."""
        return self.request is None and self.due is None

    @property
    def is_due(self) -> bool:
        """True if the timer has ended."""
        return self.request is None and self.due is not None and self._clock.monotonic() >= self.due

    def take_due(self) -> inputs.TimerDue | inputs.Resume:
        """Return the input for the timer that has ended. The input for the next timer is `TimerDue` again."""
        fact, self.when_due = self.when_due, _TIMER_DUE
        return fact


def longest_pause(snapshot: Snapshot, settings: Settings) -> float:
    """Return the longest time in seconds that may be left until the saved request is due.

    Due times are saved in seconds since the epoch. If somebody sets the clock back, the saved due time seems further
    away than it is. In this case, the driver waits only for the longest time that this function returns.
    """
    pending = snapshot.pending
    if pending is not None and (pending.tries or pending.failures):
        # The pause that the server asked for is not saved, so it may be as long as `MAX_RETRY_AFTER`.
        delays = (settings.request_retry_max_delay, settings.tool_output_retry_delay)
        return max(MAX_RETRY_AFTER, settings.outcome_grace, *delays)
    if snapshot.state is State.RATE_LIMITED and isinstance(snapshot.request, effects.CreateRun):
        return settings.rate_limit_retry_delay  # otherwise the thread searches for a run that may have been created
    if snapshot.state is State.AWAITING_TOOLS:
        return settings.tool_poll_interval
    # While webhooks arrive, the library polls less often. But a process that has just started has seen no webhook yet.
    return settings.heartbeat_interval if snapshot.polls else max(settings.heartbeat_interval, settings.outcome_grace)
