"""A task for the tests of the scheduler."""

from __future__ import annotations

import threading
import time

TIMEOUT = 20


class Task:
    """A task whose ticks return the steps of its script, or what they return; it keeps the times of its ticks."""

    def __init__(self, *script):
        self.script = list(script)
        self.ticked = threading.Semaphore(0)
        self.times = []

    def tick(self):
        self.times.append(time.monotonic())
        step = self.script.pop(0) if self.script else None
        try:
            return step() if callable(step) else step
        finally:
            self.ticked.release()

    def describe(self):
        return "a task of the test"

    def wait(self, times=1):
        for _ in range(times):
            assert self.ticked.acquire(timeout=TIMEOUT)
