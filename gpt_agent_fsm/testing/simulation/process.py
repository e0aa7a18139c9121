"""The process between the users and the server. It crashes now and then, and the next one starts."""

from __future__ import annotations

import random
from collections.abc import Callable

from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle
from gpt_agent_fsm.testing.network import Crash
from gpt_agent_fsm.testing.simulation.life import Life

__all__ = ["Process"]

_PAUSES = (0.0, 1.0, 40.0)
"""Seconds for which nothing runs after a crash."""


class Process:
    """A sequence of runtimes over the same backend and store.

    Attributes:
        on_start: callables for each start, called in order; users reconnect here.
    """

    def __init__(
        self,
        life: Life,
        backend: Backend,
        settings: Settings,
        store: Store,
        scheduler: VirtualScheduler,
        rng: random.Random,
    ) -> None:
        self._life = life
        self._backend = backend
        self._settings = settings
        self._store = store
        self._scheduler = scheduler
        self._rng = rng
        self._runtime: Runtime | None = None
        self.on_start: list[Callable[[], object]] = []

    @property
    def runtime(self) -> Runtime:
        """The runtime of the current process."""
        assert self._runtime is not None  # noqa: S101 - users act only after a start
        return self._runtime

    def start(self) -> None:
        """Start a process: the runtime resumes the threads of the store, and the users reconnect."""
        self._scheduler.restart()
        self._runtime = Runtime(
            self._backend,
            self._settings,
            StoreHandle(self._store),
            scheduler=self._scheduler,
            rng=random.Random(self._life.seed),  # noqa: S311 - a life must be repeatable
        )
        for action in self.on_start:
            action()

    def survive(self, action: Callable[[], object]) -> bool:
        """Run an action. After a crash, record it and start the next process. Return whether the process survived."""
        try:
            action()
        except Crash:
            self._life.crashes += 1
            self.note("CRASH")
            self._scheduler.sleep(self._rng.choice(_PAUSES))
            while not self.survive(self.start):
                pass
            return False
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass. The process may crash during it."""
        self.survive(lambda: self._scheduler.advance(seconds))

    def note(self, line: str) -> None:
        """Write a line with the time into the journal."""
        self._life.journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {line}")
