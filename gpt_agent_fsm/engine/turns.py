"""Lets requests through at a steady pace, and lets tenants take turns while requests wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from gpt_agent_fsm.engine.protocols import Clock

__all__ = ["OfTenant", "Pace", "Turns", "in_turn"]

_LATE = 1.0
"""The seconds for which a thread's turn is kept. After that, the next thread may go."""


class OfTenant(Protocol):
    """A thread that belongs to a tenant."""

    @property
    def tenant(self) -> str:
        """The tenant; "" for all threads without one."""
        ...

    def try_again(self, *, unpark: bool) -> None:
        """See `gate.Waiting.try_again`."""
        ...


W = TypeVar("W", bound=OfTenant)


class Pace:
    """Hands out moments for requests, at most `per_minute` in a minute. A second without requests may be made up for.

    This is the generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self, clock: Clock, per_minute: float) -> None:
        self._clock = clock
        self.interval: float = 60.0 / per_minute
        self.slack: float = max(1.0 - self.interval, 0.0)
        self._next = clock.monotonic()

    def reserve(self) -> float:
        """Reserve the next free moment, and return it in monotonic seconds. It may be in the past."""
        moment = max(self._next, self._clock.monotonic() - self.slack)
        self._next = moment + self.interval
        return moment


class Turns:
    """The threads whose requests wait for their moment. The caller holds a lock.

    Args:
        reserve: reserves the moment of the next request, and returns it in monotonic seconds.
        interval: the seconds between two requests.
    """

    def __init__(self, clock: Clock, reserve: Callable[[], float], interval: float) -> None:
        self._clock = clock
        self._reserve = reserve
        self._interval = interval
        self._moment: float | None = None
        """The moment of the next request; None if it is not reserved yet."""
        self._waiting: dict[str, dict[OfTenant, float]] = {}
        """The waiting threads of each tenant, with the times for which they were told to come back. The first thread of
        the first tenant is next."""

    def admit(self, who: OfTenant) -> tuple[float | None, OfTenant | None]:
        """Return None if the thread may make its request now, or else when to come back, in monotonic seconds.

        Also return a thread that should come now, although it was told to come later; or None.
        """
        now = self._clock.monotonic()
        if self._moment is None:
            self._moment = self._reserve()
        self._waiting.setdefault(who.tenant, {})[who] = now  # it keeps its place, and has come
        self._skip_the_late(now)
        if self._moment > now or self._next() is not who:
            again = max(self._moment, now) + self._position(who) * self._interval
            self._waiting[who.tenant][who] = again
            return again, None
        self.forget(who)
        self._pass_on(who.tenant)
        self._moment = None if not self._waiting else self._reserve()
        return None, self._early_one()

    def forget(self, who: OfTenant) -> None:
        """Forget a thread, which no longer wants a turn."""
        for tenant in [tenant for tenant, threads in self._waiting.items() if threads.pop(who, None) is not None]:
            if not self._waiting[tenant]:
                del self._waiting[tenant]

    def _next(self) -> OfTenant:
        return next(iter(next(iter(self._waiting.values()))))

    def _pass_on(self, tenant: str) -> None:
        """Put a tenant at the end of the row."""
        if tenant in self._waiting:
            self._waiting[tenant] = self._waiting.pop(tenant)

    def _position(self, who: OfTenant) -> int:
        """Return how many threads come before this one. Each tenant has one turn in each round."""
        own = list(self._waiting[who.tenant]).index(who)
        tenants = list(self._waiting)
        first = tenants.index(who.tenant)
        return own + sum(
            min(len(self._waiting[tenant]), own + (1 if number < first else 0))
            for number, tenant in enumerate(tenants)
            if tenant != who.tenant
        )

    def _skip_the_late(self, now: float) -> None:
        """Forget threads that do not come for their turn, for example because their request was withdrawn."""
        while self._moment is not None and now > self._moment + _LATE:
            first = self._next()
            if now <= self._waiting[first.tenant][first] + _LATE:
                return
            self.forget(first)

    def _early_one(self) -> OfTenant | None:
        """Return the next thread, if it was told to come later than at the next moment."""
        if self._moment is None:
            return None
        first = self._next()
        told = self._waiting[first.tenant][first]
        if told <= self._moment + self._interval / 2:
            return None
        self._waiting[first.tenant][first] = self._moment
        return first


def in_turn(waiting: Iterable[W]) -> list[W]:
    """Return the threads in the order in which their tenants take turns."""
    rows: dict[str, deque[W]] = {}
    for who in waiting:
        rows.setdefault(who.tenant, deque()).append(who)
    turns: deque[deque[W]] = deque(rows.values())
    found: list[W] = []
    while turns:
        row = turns.popleft()
        found.append(row.popleft())
        if row:
            turns.append(row)
    return found
