"""Holds requests back while an API key is rate limited or has no balance. All threads that use the key share the gate.

The gate is a circuit breaker with a probe. After a rate limit (HTTP 429), no thread sends anything until the time that
the server asked for is over. Then one request is sent as a probe. If the probe is not rate limited, the other requests
follow.

If the server denies a request because the balance is exhausted, each thread that wants to post a message or create a
run is parked: it makes no request. If a parked thread gets a command after the denial, for example a new message, it
may send its request as a probe. As soon as one run is created, all parked threads continue.
"""

from __future__ import annotations

import itertools
import threading
from typing import Protocol

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Gate"]


class Waiting(Protocol):
    """A thread that wants to make a request through the gate."""

    @property
    def last_command(self) -> int:
        """The number that `Gate.stamp` returned when the thread accepted its last command."""
        ...

    def try_again(self, *, unpark: bool) -> None:
        """Try the request again. `unpark` is True if the thread was parked and the balance is no longer exhausted."""
        ...


class Gate:
    """Admits or holds back the requests of all threads of one API key. May be used from any OS thread."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self._settings = settings
        self._lock = threading.Lock()
        self._until = 0.0
        self._limited = 0
        """The number of rate limits in a row; 0 while no rate limit holds requests back."""
        self._probe: Waiting | None = None
        self._probed = 0.0
        """When the probe was sent. After `request_timeout` the probe no longer counts, and another may be sent."""
        self._held: dict[Waiting, None] = {}
        self._stamps = itertools.count(1)
        self._denial: inputs.RequestNeedsOperator | None = None
        """The server's last denial because of the balance; None while the balance does not count as exhausted."""
        self._denied = 0
        """The result of `stamp` at the moment of the denial."""
        self._broke: dict[Waiting, None] = {}

    def stamp(self) -> int:
        """Return a number that is higher than all numbers that this method has returned before."""
        return next(self._stamps)

    def admit(self, who: Waiting, request: effects.Request) -> float | inputs.RequestNeedsOperator | None:
        """Return None if the request may be made now. Otherwise return the time of a retry, or the denial to report.

        The time is in monotonic seconds. If the request may be made earlier, the gate calls `who.try_again`.
        """
        with self._lock:
            starts_something = isinstance(request, effects.PostMessage | effects.CreateRun)
            if self._denial is not None and starts_something and who.last_command < self._denied:
                self._broke[who] = None
                return self._denial
            now = self._clock.monotonic()
            if not self._limited:
                return None
            gone = now >= self._probed + self._settings.request_timeout
            if now >= self._until and (self._probe in (None, who) or gone):
                self._probe, self._probed = who, now
                self._held.pop(who, None)
                return None
            self._held[who] = None
            return self._until if now < self._until else now + self._settings.request_timeout

    def learn(self, who: Waiting, request: effects.Request, fact: inputs.Input) -> None:
        """Note what the result of a request shows about the limits of the API key."""
        with self._lock:
            woken = self._learn_of_limit(who, fact)
            rich = self._learn_of_balance(who, request, fact)
        for other in woken:
            other.try_again(unpark=False)
        for other in rich:
            other.try_again(unpark=True)

    def _learn_of_limit(self, who: Waiting, fact: inputs.Input) -> list[Waiting]:
        if isinstance(fact, inputs.RequestDelayed) and fact.status == 429:
            if not self._limited or self._probe is who:
                # If several requests in flight are rate limited, count only the first. After that, count only probes.
                self._limited += 1
            pause = max(self._settings.backoff(self._limited), fact.retry_after or 0.0)
            self._until = max(self._until, self._clock.monotonic() + pause)
            if self._probe is who:
                self._probe = None
            return []
        if self._limited and (self._probe is who or self._clock.monotonic() >= self._until):
            # A probe that fails for another reason opens the gate, too, because the rate limit is over.
            self._limited, self._probe = 0, None
            woken, self._held = list(self._held), {}
            return woken
        return []

    def _learn_of_balance(self, who: Waiting, request: effects.Request, fact: inputs.Input) -> list[Waiting]:
        if isinstance(fact, inputs.RequestNeedsOperator):
            if fact.quota:
                self._broke[who] = None
                self._denial, self._denied = fact, self.stamp()
            return []
        got_through = isinstance(request, effects.CreateRun) and isinstance(fact, inputs.RunCreated)
        if not got_through:
            return []
        self._denial = None
        woken, self._broke = [other for other in self._broke if other is not who], {}
        return woken

    def forget(self, who: Waiting) -> None:
        """Forget a thread, because its driver has ended."""
        with self._lock:
            self._held.pop(who, None)
            self._broke.pop(who, None)
            if self._probe is who:
                self._probe = None
