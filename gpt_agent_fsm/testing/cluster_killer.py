"""Starts the processes of `cluster_kill_test`, and kills, freezes and replaces them at random."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import attrs

from gpt_agent_fsm.testing.postgresql import PostgreSQL
from gpt_agent_fsm.testing.takeovers import Database, Takeovers

__all__ = ["Child", "Killer"]

_SHORTEST_FREEZE, _LONGEST_FREEZE = 10.0, 16.0
"""Seconds for which a worker is frozen. A lease lasts for 8 seconds."""
_LONGEST_OUTAGE = 3.0
_LONGEST_ABSENCE = 3.0
_LONGEST_WAIT = 25.0
_END = 30.0
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
_OWN_PID = "SELECT pg_backend_pid()"


@attrs.define(eq=False)
class Child:
    """A process of the experiment.

    Attributes:
        role: `worker` or `client`.
        number: its number among the processes of its role.
    """

    role: str
    number: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    folder: Path
    is_frozen: bool = False

    @property
    def is_ready(self) -> bool:
        """True if the process works, and is not frozen."""
        return not self.is_frozen and (self.folder / f"ready.{self.process.pid}").exists()


class Killer:
    """The processes, and what happens to them. Use it from one OS thread.

    Args:
        command: the beginning of the command of a process.
        server: the PostgreSQL server, if the killer may restart it.
        on_resume: called with the id of a process before it continues.

    Attributes:
        faults: how many faults of each kind there were.
        wrong: what went wrong.
        takeovers: the times until threads were taken over.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        url: str,
        server: PostgreSQL | None,
        rng: random.Random,
        on_resume: Callable[[int], object],
    ) -> None:
        self._command = command
        self._folder = folder
        self._server = server
        self._database = Database(url)
        self._rng = rng
        self._on_resume = on_resume
        self._children: list[Child] = []
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.takeovers: Takeovers = Takeovers(url)
        kinds: dict[Callable[[], object], int] = {
            self._kill_worker: 4,
            self._freeze_worker: 3,
            self._kill_client: 1,
            self._cut_connections: 2,
        }
        if server is not None:
            kinds[self._restart_database] = 2
        self._kinds = kinds

    # --- the processes --------------------------------------------------------------------------------------

    def start(self, role: str, number: int) -> None:
        """Start a process."""
        log = (self._folder / f"log.{role}.{number}").open("ab")
        command = [*self._command, "--child", role, "--number", str(number), "--folder", str(self._folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)  # noqa: S603 - our own
        self._children.append(Child(role, number, process, log, self._folder))

    @property
    def all_are_ready(self) -> bool:
        """True if no process is frozen, missing or beginning."""
        return not self._later and all(child.is_ready for child in self._children)

    def check(self) -> None:
        """Do what is due, and replace processes that have ended by themselves."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for child in list(self._children):
            if child.process.poll() is not None:
                self.wrong.append(
                    f"a {child.role} ended by itself with {child.process.returncode}: {self._said(child)}"
                )
                self._remove(child)
                self.start(child.role, child.number)

    def _said(self, child: Child) -> str:
        lines = (self._folder / f"log.{child.role}.{child.number}").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "nothing"

    def _remove(self, child: Child) -> None:
        self._children.remove(child)
        if child.process.stdin is not None:
            child.process.stdin.close()
        child.process.wait()
        child.log.close()

    def _in(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), action))

    # --- the faults -----------------------------------------------------------------------------------------

    def make_a_fault(self) -> None:
        """Make a fault at random. Sometimes, wait first until the threads of the last fault are taken over."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        if self._rng.random() < 0.6:
            self._await_takeovers()
        self._rng.choices(kinds, weights)[0]()

    def _await_takeovers(self) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT
        while self.takeovers.waiting and time.monotonic() < deadline:
            self.check()
            time.sleep(0.05)

    def _victim(self, role: str, at_least: int) -> Child | None:
        """Return a process at random, or None if there would be fewer than `at_least` others."""
        ready = [child for child in self._children if child.role == role and child.is_ready]
        return self._rng.choice(ready) if len(ready) > at_least else None

    def _kill(self, child: Child) -> None:
        child.process.send_signal(signal.SIGKILL)
        self._remove(child)
        self._in(self._rng.uniform(0.0, _LONGEST_ABSENCE), lambda: self.start(child.role, child.number))

    def _note(self, kind: str, child: Child | None = None) -> None:
        now = time.monotonic()
        self.faults[kind] += 1
        self.takeovers.note_fault(now)
        if child is not None:
            self.takeovers.watch(child.process.pid, now)

    def _kill_worker(self) -> None:
        if (child := self._victim("worker", 1)) is not None:
            self._kill(child)
            self._note("kills of workers", child)

    def _freeze_worker(self) -> None:
        if (child := self._victim("worker", 1)) is not None:
            child.process.send_signal(signal.SIGSTOP)
            child.is_frozen = True
            self._in(self._rng.uniform(_SHORTEST_FREEZE, _LONGEST_FREEZE), lambda: self._resume(child))
            self._note("freezes of workers", child)

    def _resume(self, child: Child) -> None:
        self._on_resume(child.process.pid)
        child.process.send_signal(signal.SIGCONT)
        child.is_frozen = False

    def _kill_client(self) -> None:
        if (child := self._victim("client", 0)) is not None:
            self._kill(child)
            self.faults["kills of clients"] += 1

    def _cut_connections(self) -> None:
        ((own,),) = self._database.ask(_OWN_PID)
        self._database.try_to_ask(_CUT, own)
        self._note("cuts of all connections")

    def _restart_database(self) -> None:
        assert self._server is not None  # noqa: S101 - this kind is chosen only with a server
        self._server.stop()
        deadline = time.monotonic() + self._rng.uniform(0.0, _LONGEST_OUTAGE)
        while time.monotonic() < deadline:
            self.check()
            time.sleep(0.02)
        self._server.start()
        self._note("restarts of the database")

    # --- the end --------------------------------------------------------------------------------------------

    def end_all(self) -> None:
        """End all processes, and note those that do not end. Clients end first, because their agents need workers."""
        for role in ("client", "worker"):
            self._end([child for child in self._children if child.role == role])
        self.kill_all()

    def _end(self, children: Sequence[Child]) -> None:
        for child in children:
            assert child.process.stdin is not None  # noqa: S101 - it was asked for
            child.process.stdin.close()
        for child in children:
            try:
                code = child.process.wait(_END)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"a {child.role} did not end in {_END:g} seconds")
            else:
                if code:
                    self.wrong.append(f"a {child.role} ended with {code}: {self._said(child)}")

    def kill_all(self) -> None:
        """Kill what still runs."""
        for child in list(self._children):
            child.process.kill()
            with contextlib.suppress(OSError):
                self._remove(child)
        self.takeovers.close()
        self._database.close()
