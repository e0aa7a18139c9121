"""The process between the users and the server. Sometimes it crashes, and then the next process starts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from gpt_agent_fsm.errors import StoreTaken
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import Crash, StoreHandle
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.tools import Tool

__all__ = ["Process"]

_PAUSES = (0.0, 1.0, 40.0)
"""Seconds for which nothing runs after a crash."""


class _Scheduler:
    """The scheduler of one process. When the process crashes, the calls that it has scheduled are dropped."""

    def __init__(self, scheduler: VirtualScheduler, life: Life) -> None:
        self._scheduler = scheduler
        self._life = life
        self._crashes = life.crashes

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """See `VirtualScheduler.call_later`."""
        self._scheduler.call_later(seconds, lambda: action() if self._life.crashes == self._crashes else None)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the scheduler has
        return getattr(self._scheduler, name)


class Process:
    """The process of the program, and the processes that replace it. All of them use the same server and store.

    Args:
        make_backend: a function that takes the store object of a process and returns the backend of that process.
        on_sent: a function that is called after each commit that marks a request as sent, if the request changes the
            server.
        tools: the functions that answer tool calls.

    Attributes:
        on_start: the functions with which users reconnect. They are called, in order, when a process starts.
    """

    def __init__(
        self,
        life: Life,
        make_backend: Callable[[StoreHandle], Backend],
        settings: Settings,
        store: Store,
        scheduler: VirtualScheduler,
        rng: random.Random,
        on_sent: Callable[[], object] = lambda: None,
        tools: Sequence[Tool[..., Any]] = (),
    ) -> None:
        self._tools = tools
        self._life = life
        self._make_backend = make_backend
        self._on_sent = on_sent
        self._settings = settings
        self._store = store
        self._scheduler = scheduler
        self._rng = rng
        self._runtime: Runtime | None = None
        self._handle: StoreHandle | None = None
        self.on_start: list[Callable[[], object]] = []

    @property
    def runtime(self) -> Runtime:
        """The runtime of the current process."""
        assert self._runtime is not None  # noqa: S101 - users act only after a start
        return self._runtime

    def start(self) -> None:
        """Start a process: the runtime resumes the threads of the store, and the users reconnect."""
        self._scheduler.restart()
        self._run()

    def take_over(self) -> None:
        """Start the next process, which takes the store over. The former process continues, and does not know this."""
        former = self._handle
        if former is None or not former.is_owned():
            return
        self.note("TAKEOVER")
        former.disown()
        self._scheduler.call_later(0.0, lambda: self._run() if self._handle is former else None)

    def _run(self) -> None:
        self._handle = StoreHandle(self._store, self._on_sent)
        self._runtime = Runtime(
            self._make_backend(self._handle),
            self._settings,
            self._handle,
            tools=self._tools,
            scheduler=_Scheduler(self._scheduler, self._life),
            rng=random.Random(self._life.seed),  # noqa: S311 - a life must be repeatable
        )
        for action in self.on_start:
            action()

    def survive(self, action: Callable[[], object]) -> bool:
        """Run an action. If the process crashes, record this and start the next process. Return whether it survived."""
        try:
            action()
        except Crash:
            self._life.crashes += 1
            self.note("CRASH")
            self._scheduler.sleep(self._rng.choice(_PAUSES))
            while not self.survive(self.start):
                pass
            return False
        except StoreTaken:
            return False  # the next process starts as soon as the time continues
        return True

    def advance(self, seconds: float) -> None:
        """Let this number of seconds pass. The process may crash during that time."""
        self.survive(lambda: self._scheduler.advance(seconds))

    def note(self, line: str) -> None:
        """Write a line with the time into the journal."""
        self._life.journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {line}")
