"""The drivers of one runtime that were stopped, until their last tick has ended."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.shift import Shift

__all__ = ["Leavers"]

_OF_ALL = ("runtime_closed", "store_taken")
"""The reasons that stop all drivers of a runtime. There may be thousands, so they share a line in the log."""
_NAMED = 10
"""The largest number of threads that a line in the log names."""


class Leavers:
    """The stopped drivers whose last tick has not ended, by thread. The caller holds a lock.

    Args:
        is_shared: True if other processes continue the threads, so that nobody needs to know of their work.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._shifts: dict[str, Shift] = {}
        self._unfinished: dict[str, list[Driver]] = {}
        """The drivers that have ended with work left and are not reported yet, by the reason of their end."""

    def __len__(self) -> int:
        return len(self._shifts)

    def get(self, thread_id: str) -> Shift | None:
        """Return the task of the thread's stopped driver, or None."""
        return self._shifts.get(thread_id)

    def add(self, shift: Shift) -> None:
        """Add a driver that was stopped. An earlier one of the same thread stays."""
        self._shifts.setdefault(shift.driver.thread_id, shift)

    def remove(self, shift: Shift) -> None:
        """Forget a driver whose last tick has ended."""
        driver = shift.driver
        if self._shifts.get(driver.thread_id) is shift:
            del self._shifts[driver.thread_id]
        if not self._is_shared and not (driver.snapshot.settled and driver.is_quiet()):
            self._unfinished.setdefault(str(driver.stop_reason), []).append(driver)

    def take_reports(self, *, at_end: bool = False) -> list[str]:
        """Return lines for the log about the threads that were left with work, one for each reason.

        If a reason stops all drivers, its line waits until the last one has ended, or until `at_end` is True.
        """
        reasons = [each for each in self._unfinished if at_end or not self._shifts or each not in _OF_ALL]
        return [_report(reason, self._unfinished.pop(reason)) for reason in reasons]


def _report(reason: str, drivers: Sequence[Driver]) -> str:
    names = ", ".join(driver.thread_id for driver in drivers[:_NAMED])
    more = f" and {len(drivers) - _NAMED:,} more" if len(drivers) > _NAMED else ""
    return f"{names}{more}: stopped ({reason}) with work left; {drivers[0].outlook}"
