"""The contract of a `Clock`, as a test class to inherit from."""

from __future__ import annotations

import itertools
import math
import threading

from gpt_agent_fsm.ports import Clock

__all__ = ["ClockContract"]

_PAUSE = 0.02
_YEAR_2020 = 1_577_836_800
_YEAR_2200 = 7_258_118_400


class ClockContract:
    """The tests of a clock. To run them, write a subclass `Test...` in a test file, and implement `make_clock`."""

    def make_clock(self) -> Clock:
        """Return a running clock, or a clock that `let_pass` advances."""
        raise NotImplementedError

    def let_pass(self, clock: Clock, seconds: float) -> None:
        """Let this number of seconds pass. Override this method for a clock that does not run by itself."""
        del clock
        threading.Event().wait(seconds)

    def test_both_readings_are_finite_numbers(self) -> None:
        clock = self.make_clock()
        assert math.isfinite(clock.monotonic())
        assert math.isfinite(clock.time())

    def test_monotonic_time_never_goes_back(self) -> None:
        clock = self.make_clock()
        readings = [clock.monotonic() for _ in range(1000)]
        self.let_pass(clock, _PAUSE)
        readings.append(clock.monotonic())
        assert all(before <= after for before, after in itertools.pairwise(readings))

    def test_monotonic_time_is_the_same_on_every_os_thread(self) -> None:
        clock, readings = self.make_clock(), list[float]()
        for _ in range(10):
            readings.append(clock.monotonic())
            other = threading.Thread(target=lambda: readings.append(clock.monotonic()))
            other.start()
            other.join()
        assert readings == sorted(readings)
        assert len(readings) == 20

    def test_monotonic_time_counts_seconds(self) -> None:
        clock = self.make_clock()
        before = clock.monotonic()
        self.let_pass(clock, _PAUSE)
        # On a busy computer the pause may take longer, but not 500 times as long.
        assert _PAUSE * 0.9 <= clock.monotonic() - before < _PAUSE * 500

    def test_time_is_told_in_seconds_since_the_epoch(self) -> None:
        assert _YEAR_2020 < self.make_clock().time() < _YEAR_2200

    def test_both_readings_move_together(self) -> None:
        clock = self.make_clock()
        monotonic, time = clock.monotonic(), clock.time()
        self.let_pass(clock, _PAUSE)
        elapsed = clock.monotonic() - monotonic
        assert elapsed > 0
        # The computer's clock may be set forward or back a little during the test.
        assert abs(clock.time() - time - elapsed) < 1.0
