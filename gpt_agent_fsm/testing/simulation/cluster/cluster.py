"""The processes of a cluster between the users and the server: some workers, and a process with the users' agents."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.ports import Backend, Record, Saved
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.crashing import Crash
from gpt_agent_fsm.testing.simulation.cluster.database import SimulatedCluster
from gpt_agent_fsm.testing.simulation.cluster.node import FROZEN, NestingScheduler, Node, NodeFaults
from gpt_agent_fsm.testing.simulation.cluster.tables import MemoryTables
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.tools import Tool

__all__ = ["ClusterProcesses", "ClusterStore"]

_WORKERS = (1, 2, 2, 3)
_PAUSES = (0.0, 1.0, 40.0)
"""Seconds for which a worker is missing after a crash."""


class ClusterStore:
    """What the world of a life sees of the database."""

    def __init__(self, tables: MemoryTables, faults: NodeFaults) -> None:
        self.tables = tables
        self.faults = faults
        self.ends_with_process = False

    @property
    def faults_off(self) -> bool:
        """True if processes no longer crash, and the database no longer fails."""
        return self.faults.off

    @faults_off.setter
    def faults_off(self, off: bool) -> None:
        self.faults.off = off

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        return self.tables.load(thread_id)

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        return self.tables.history(thread_id, after)


class ClusterProcesses:
    """The processes of a cluster. Has the methods of `Process` that the world and the users call.

    Attributes:
        on_start: the functions with which users reconnect when the process with their agents starts.
    """

    def __init__(
        self,
        life: Life,
        make_backend: Callable[[Any], Backend],
        settings: Settings,
        store: ClusterStore,
        scheduler: NestingScheduler,
        rng: random.Random,
        on_sent: Callable[[], object],
        tools: Sequence[Tool[..., Any]] = (),
    ) -> None:
        self._life = life
        self._make_backend = make_backend
        self._settings = settings
        self._store = store
        self._scheduler = scheduler
        self._rng = rng
        self._on_sent = on_sent
        self._tools = tools
        self._nodes: list[Node] = []
        self._client: Node | None = None
        self._started = 0
        self._workers = rng.choice(_WORKERS)
        self._client_drives = rng.random() < 0.3
        self.on_start: list[Callable[[], object]] = []

    @property
    def runtime(self) -> Runtime:
        """The runtime with the users' agents."""
        assert self._client is not None  # noqa: S101 - users act only after a start
        assert self._client.runtime is not None  # noqa: S101 - as above
        return self._client.runtime

    def start(self) -> None:
        """Start the workers, if there are none, and the process with the users' agents."""
        while sum(node is not self._client for node in self._nodes) < self._workers:
            self._start_worker()
        if self._client is None:
            client = self._client = self._start("client", drive=self._client_drives)
            with self._inside(client):
                for action in self.on_start:
                    with contextlib.suppress(StoreError):  # the user connects with the next action
                        action()

    @contextlib.contextmanager
    def _inside(self, client: Node) -> Iterator[None]:
        """Let users act in this process in the `with` block. It is dead after a crash."""
        before, self._scheduler.node = self._scheduler.node, client
        try:
            yield
        except Crash:
            client.crash()
            raise
        finally:
            self._scheduler.node = before

    def _start(self, kind: str, *, drive: bool) -> Node:
        self._started += 1
        tables, faults = self._store.tables, self._store.faults
        name, live = f"{kind} {self._started}", self._nodes
        node = Node(name, tables, self._scheduler, self._rng, faults, lambda: tuple(live), self._bury)
        node.runtime = Runtime(
            self._make_backend(node),
            self._settings,
            SimulatedCluster(node, self._on_sent, drive=drive),
            tools=self._tools if drive else (),
            scheduler=node,
            rng=random.Random(self._life.seed),  # noqa: S311 - a life must be repeatable
        )
        self._nodes.append(node)
        self.note(f"{name} starts")
        return node

    def _start_worker(self) -> None:
        try:
            self._start("worker", drive=True)
        except (Crash, StoreError):
            self._scheduler.call_later(1.0, self._start_worker)

    def _bury(self, node: Node) -> None:
        self._life.crashes += 1
        self.note(f"CRASH of {node.name}")
        if node in self._nodes:
            self._nodes.remove(node)
        if node is self._client:
            self._client = None
            self._scheduler.call_later(0.0, self._restart_client)
        else:
            self._scheduler.call_later(self._rng.choice(_PAUSES), self._start_worker)

    def take_over(self) -> None:
        """Freeze or kill a process: the one that runs now, or any worker."""
        node = self._scheduler.node or self._rng.choice(self._nodes)
        if node is self._client and not self._client_drives:
            node = self._rng.choice(self._nodes)
        if node.is_frozen or node is self._client:
            return
        seconds = self._rng.choice(FROZEN)
        self.note(f"FREEZE of {node.name} for {seconds} s")
        node.freeze(seconds)

    def survive(self, action: Callable[[], object]) -> bool:
        """Run an action of a user. If the process crashes, start the next one. Return whether it survived."""
        try:
            with self._inside(self._live_client()), contextlib.suppress(StoreError):
                action()
        except Crash:
            self._live_client()
            return False
        return True

    def _live_client(self) -> Node:
        """Return the process with the users' agents. Start it, as often as necessary."""
        while self._client is None:
            with contextlib.suppress(Crash, StoreError):
                self.start()
        return self._client

    def _restart_client(self) -> None:
        self._live_client()

    def advance(self, seconds: float) -> None:
        """Let this number of seconds pass."""
        self._scheduler.advance(seconds)

    def note(self, line: str) -> None:
        """Write a line with the time into the journal."""
        self._life.journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {line}")
