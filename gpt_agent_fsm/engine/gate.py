"""Holds requests back while an API key is rate limited or has no balance. All threads that use the key share the gate.

The gate is a circuit breaker with a probe. After a rate limit (HTTP 429), no thread sends anything until the time that
the server asked for is over. Then one request is sent as a probe. If the probe is not rate limited, the other requests
follow.

If the server denies a request because the balance is exhausted, each thread that wants to post a message or create a
run is parked: it makes no request. If a parked thread gets a command after the denial, for example a new message, it
may send its request as a probe. As soon as one run is created, all parked threads continue.

If the settings limit the requests of a minute, each request waits for its moment, and the tenants take turns. In a
cluster, the gates of all processes that use one key tell each other what they have learned; see `Account`.
"""

from __future__ import annotations

import itertools
import threading
from typing import Protocol

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.engine.turns import OfTenant, Pace, Turns, in_turn
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Account", "Gate", "SoleAccount"]


class Waiting(Protocol):
    """A thread that wants to make a request through the gate."""

    @property
    def tenant(self) -> str:
        """The tenant of the thread; "" for all threads without one."""
        ...

    @property
    def last_command(self) -> int:
        """The number that `Gate.stamp` returned when the thread accepted its last command."""
        ...

    def try_again(self, *, unpark: bool) -> None:
        """Try the request again. `unpark` is True if the thread was parked and the balance is no longer exhausted."""
        ...


class Account(Protocol):
    """What the gates of all processes know together about one API key. The calls may block for a query."""

    def reserve(self) -> float:
        """Reserve the moment of the next request, and return it in monotonic seconds."""
        ...

    def take_probe(self, seconds: float) -> bool:
        """Return whether this process may send the probe. For `seconds`, no other process may."""
        ...

    def limited(self, seconds: float, times: int) -> None:
        """Tell the others: nothing may be sent for `seconds`. This is the rate limit number `times` in a row."""
        ...

    def opened(self) -> None:
        """Tell the others: the rate limit is over."""
        ...

    def denied(self, denial: inputs.RequestNeedsOperator) -> None:
        """Tell the others: the balance is exhausted."""
        ...

    def paid(self) -> None:
        """Tell the others: the balance is no longer exhausted."""
        ...


class SoleAccount:
    """The account of a process that shares its API key with no other process. See `Account`."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        per_minute = settings.requests_per_minute
        self._pace = None if per_minute is None else Pace(clock, per_minute)

    def reserve(self) -> float:
        """See `Account.reserve`."""
        return 0.0 if self._pace is None else self._pace.reserve()

    def take_probe(self, seconds: float) -> bool:
        """See `Account.take_probe`. Returns True."""
        del seconds
        return True

    def limited(self, seconds: float, times: int) -> None:
        """See `Account.limited`. Nobody needs to know."""

    def opened(self) -> None:
        """See `Account.opened`. Nobody needs to know."""

    def denied(self, denial: inputs.RequestNeedsOperator) -> None:
        """See `Account.denied`. Nobody needs to know."""

    def paid(self) -> None:
        """See `Account.paid`. Nobody needs to know."""


class Gate:
    """Admits or holds back the requests of all threads of one API key. May be used from any OS thread.

    Args:
        account: what other processes know about the API key.
    """

    def __init__(self, clock: Clock, settings: Settings, account: Account | None = None) -> None:
        self._clock = clock
        self._settings = settings
        self._account = account or SoleAccount(clock, settings)
        per_minute = settings.requests_per_minute
        self._turns = None if per_minute is None else Turns(clock, self._account.reserve, 60.0 / per_minute)
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
            verdict, early = self._admit(who, request)
        if early is not None:
            early.try_again(unpark=False)
        return verdict

    def _admit(
        self, who: Waiting, request: effects.Request
    ) -> tuple[float | inputs.RequestNeedsOperator | None, OfTenant | None]:
        """Return the verdict, and a thread that must be woken, or None."""
        starts_something = isinstance(request, effects.PostMessage | effects.CreateRun)
        if self._denial is not None and starts_something and who.last_command < self._denied:
            self._broke[who] = None
            return self._denial, None
        if not self._limited:
            return (None, None) if self._turns is None else self._turns.admit(who)
        now, timeout = self._clock.monotonic(), self._settings.request_timeout
        gone = now >= self._probed + timeout
        if now >= self._until and (self._probe in (None, who) or gone) and self._account.take_probe(timeout):
            self._probe, self._probed = who, now
            self._held.pop(who, None)
            return None, None
        self._held[who] = None
        return (self._until if now < self._until else now + timeout), None

    def learn(self, who: Waiting, request: effects.Request, fact: inputs.Input) -> None:
        """Note what the result of a request shows about the limits of the API key."""
        with self._lock:
            woken = self._learn_of_limit(who, fact)
            rich = self._learn_of_balance(who, request, fact)
        self._wake(woken, rich)

    def _wake(self, woken: list[Waiting], rich: list[Waiting]) -> None:
        for other in in_turn(woken):
            other.try_again(unpark=False)
        for other in in_turn(rich):
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
            self._account.limited(self._until - self._clock.monotonic(), self._limited)
            return []
        if self._limited and (self._probe is who or self._clock.monotonic() >= self._until):
            # A probe that fails for another reason opens the gate, too, because the rate limit is over.
            self._account.opened()
            return self._open()
        return []

    def _open(self) -> list[Waiting]:
        self._limited, self._probe = 0, None
        woken, self._held = list(self._held), {}
        return woken

    def _learn_of_balance(self, who: Waiting, request: effects.Request, fact: inputs.Input) -> list[Waiting]:
        if isinstance(fact, inputs.RequestNeedsOperator):
            if fact.quota:
                self._broke[who] = None
                self._denial, self._denied = fact, self.stamp()
                self._account.denied(fact)
            return []
        got_through = isinstance(request, effects.CreateRun) and isinstance(fact, inputs.RunCreated)
        if not got_through:
            return []
        if self._denial is not None:
            self._account.paid()
        return [other for other in self._pay() if other is not who]

    def _pay(self) -> list[Waiting]:
        self._denial = None
        woken, self._broke = list(self._broke), {}
        return woken

    # --- what other processes have learned ------------------------------------------------------------------

    def hear_limit(self, seconds: float, times: int) -> None:
        """Another process was rate limited: send nothing for `seconds`. `times`: how many limits in a row."""
        with self._lock:
            self._limited = max(self._limited, times)
            self._until = max(self._until, self._clock.monotonic() + seconds)

    def hear_opened(self) -> None:
        """Another process has found that the rate limit is over."""
        with self._lock:
            woken = self._open() if self._limited else []
        self._wake(woken, [])

    def hear_denial(self, denial: inputs.RequestNeedsOperator) -> None:
        """Another process was denied a request, because the balance is exhausted."""
        with self._lock:
            if self._denial is None:
                self._denial, self._denied = denial, self.stamp()

    def hear_paid(self) -> None:
        """Another process has found that the balance is no longer exhausted."""
        with self._lock:
            rich = self._pay() if self._denial is not None else []
        self._wake([], rich)

    def forget(self, who: Waiting) -> None:
        """Forget a thread, because its driver has ended."""
        with self._lock:
            self._held.pop(who, None)
            self._broke.pop(who, None)
            if self._turns is not None:
                self._turns.forget(who)
            if self._probe is who:
                self._probe = None
