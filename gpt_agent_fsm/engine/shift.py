"""The task that the scheduler ticks for one driver."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.tracing import Trace

__all__ = ["Shift"]


@attrs.define(eq=False)
class Shift:
    """The task that the scheduler ticks for one driver.

    Attributes:
        due: while there is a trace hook, when the next tick is due, in monotonic seconds; None if this is not known.
        begins_at: when the first tick may begin, in monotonic seconds. The end of the driver does not wait for it.
        rests_since: since when the driver is at rest, in monotonic seconds, if this is measured.

    Args:
        tick: ticks the driver, acts on the outcome, and returns when to tick the driver again.
    """

    driver: Driver
    _tick: Callable[[Shift], float | None]
    _trace: Trace
    begins_at: float = attrs.field(default=0.0, init=False)
    due: float | None = attrs.field(default=None, init=False)
    rests_since: float | None = attrs.field(default=None, init=False)

    def tick(self) -> float | None:
        """See `Task.tick`."""
        if self.begins_at and self.driver.stop_reason is None:
            if self._trace.clock.monotonic() < self.begins_at:
                return self.begins_at
            self.begins_at = 0.0
        if not self._trace.hooks:
            return self._tick(self)
        since, (due, self.due) = self._trace.clock.monotonic(), (self.due, None)
        try:
            again = self._tick(self)
            if self.due is None:
                self.due = again
            return again
        finally:
            late = 0.0 if due is None else max(0.0, since - due)
            settled = self.driver.snapshot.settled
            self._trace.ended("tick", since, thread_id=self.driver.thread_id, late=late, settled=settled)

    def end_of_rest(self, seconds: float) -> float | None:
        """Return when the driver has rested for this many seconds, in monotonic seconds; None if it does not rest."""
        if not self.driver.has_come_to_rest:
            self.rests_since = None
            return None
        if self.rests_since is None:
            self.rests_since = self._trace.clock.monotonic()
        return self.rests_since + seconds

    def note_wake(self) -> None:
        """Note that a tick is due now. Otherwise the wait of a woken driver for a worker would not count as late."""
        now = max(self._trace.clock.monotonic(), self.begins_at)
        self.due = now if self.due is None else min(self.due, now)

    def describe(self) -> str:
        """See `Task.describe`."""
        return self.driver.describe()
