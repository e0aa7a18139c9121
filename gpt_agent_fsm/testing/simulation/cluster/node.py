"""One simulated process of a cluster, and the scheduler that all processes of a life share."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

from gpt_agent_fsm.cluster.driving import HEARTBEAT
from gpt_agent_fsm.cluster.handles import ClusterHandles
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.ports import Task
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import Crash
from gpt_agent_fsm.testing.simulation.cluster.tables import MemoryTables

__all__ = ["FROZEN", "NestingScheduler", "Node", "NodeFaults"]

_DEEPEST = 20
"""How many sleeps may be inside one another while others continue. Python allows only a limited depth of calls."""
_FREEZES = 0.02
"""The probability that a worker is frozen during a request."""
FROZEN = (0.5, 5.0, 12.0, 60.0)
"""Seconds for which a worker is frozen. A lease lasts for eight."""
_HANGS = (8.0, 20.0)
"""For how many seconds at least and at most the heart of a worker does not beat, although the worker continues."""
_AFTERWARDS = 15.0
"""For how many seconds at most a request lasts after this."""
_LOOK = 5.0
"""Seconds between two searches for changes of which no news has come. A real process searches more often."""


class NestingScheduler(VirtualScheduler):
    """A scheduler of several processes. While one process sleeps in a tick, the others continue."""

    def __init__(self) -> None:
        super().__init__()
        self.node: Node | None = None
        """The process that runs now; None if a user acts."""
        self._depth = 0

    def advance(self, seconds: float) -> None:
        """See `VirtualScheduler.advance`. What happens inside too many other things only takes its time."""
        if self._depth == _DEEPEST:
            super().sleep(seconds)
            return
        self._depth += 1
        try:
            super().advance(seconds)
        finally:
            self._depth -= 1

    def sleep(self, seconds: float) -> None:
        """See `Scheduler.sleep`. The other processes continue. Raises `Crash` if this process was killed."""
        node, ticking = self.node, self._ticking
        with contextlib.nullcontext(0.0) if node is None else node.occupied() as frozen:
            self.node, self._ticking = None, False
            try:
                self.advance(seconds + frozen)
            finally:
                self.node, self._ticking = node, ticking
        if node is not None and node.is_dead:
            raise Crash


class NodeFaults:
    """Decides about crashes and failures of the database.

    Args:
        likely: the probability of each for a transaction.
    """

    def __init__(self, rng: random.Random, likely: float) -> None:
        self._rng = rng
        self._likely = likely
        self.off = False

    def happen(self) -> bool:
        """Return whether something happens now."""
        return not self.off and self._likely > 0 and self._rng.random() < self._likely

    def frozen(self) -> float:
        """Return for how many seconds a process is frozen now; mostly 0."""
        freezes = not self.off and self._likely > 0 and self._rng.random() < _FREEZES
        return self._rng.choice(FROZEN) if freezes else 0.0

    def hanging(self) -> tuple[float, float]:
        """Return for how many seconds a heart does not beat, and how long the request lasts after that."""
        return self._rng.uniform(*_HANGS), self._rng.uniform(0.0, _AFTERWARDS)

    def half(self) -> bool:
        """Return True in half of the cases."""
        return self._rng.random() < 0.5


class Node:
    """One simulated process.

    Args:
        others: returns the live processes, which hear the news of this one.
        faults: decides about crashes and failures of the database.
        die: called when this process has crashed.

    Attributes:
        is_dead: True after a crash.
        is_frozen: True while the whole process is stopped, with its heart.
        busy: how many calls of this process sleep.
    """

    def __init__(
        self,
        name: str,
        tables: MemoryTables,
        scheduler: NestingScheduler,
        rng: random.Random,
        faults: NodeFaults,
        others: Callable[[], Collection[Node]],
        die: Callable[[Node], None],
    ) -> None:
        self.name = name
        self.tables = tables
        self.scheduler = scheduler
        self.rng = rng
        self.faults = faults
        self.others = others
        self._die = die
        self.is_dead = self.is_frozen = False
        self.busy = 0
        self._hangs_until = 0.0
        """The time until which the heart does not beat, although the process is not frozen."""
        self.runtime: Runtime | None = None
        self.handles: ClusterHandles | None = None
        self._tasks: dict[Task, _NodeTask] = {}

    # --- running ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def occupied(self) -> Iterator[float]:
        """Let no tick of this process run in the `with` block. Sometimes the whole process is frozen in it.

        As often, only its connections hang: its heart does not beat, and beats again before the block ends. So the
        process may lose its threads and claim them again, while a driver is in its last tick.

        Yields for how many more seconds the process sleeps then.
        """
        seconds = 0.0 if self.is_frozen or not self._is_worker else self.faults.frozen()
        freezes = seconds > 0 and not self.faults.half()
        if freezes:
            self.is_frozen = True
        elif seconds:
            hangs, afterwards = self.faults.hanging()
            self._hangs_until, seconds = self.clock.monotonic() + hangs, hangs + afterwards
        self.busy += 1
        try:
            yield seconds
        finally:
            self.busy -= 1
            self.is_frozen = self.is_frozen and not freezes

    @property
    def _hangs(self) -> bool:
        return bool(self.clock.monotonic() < self._hangs_until)

    @property
    def _is_worker(self) -> bool:
        return self.handles is not None and self.handles.driving is not None

    def freeze(self, seconds: float) -> None:
        """Stop the whole process for a while. The others continue."""
        if self.is_dead or self.is_frozen:
            return
        self.is_frozen = True
        if self.scheduler.node is self:
            try:
                self.scheduler.sleep(seconds)
            finally:
                self.is_frozen = False
            return

        def thaw() -> None:
            self.is_frozen = False

        self.scheduler.call_later(seconds, thaw)

    def run(self, action: Callable[[], object]) -> None:
        """Run an action in this process, unless it is dead. A frozen process runs it later."""
        if self.is_dead:
            return
        if self.is_frozen:
            self.scheduler.call_later(1.0, lambda: self.run(action))
            return
        with self._running():
            action()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        before, self.scheduler.node = self.scheduler.node, self
        try:
            yield
        except Crash:
            self.crash()
        finally:
            self.scheduler.node = before

    def crash(self) -> None:
        """Die."""
        if not self.is_dead:
            self.is_dead = True
            self._die(self)

    def tick(self, task: Task) -> float | None:
        """Tick a task of this process."""
        if self.is_dead:
            return None
        if self.is_frozen or self.busy:
            return self.scheduler.clock.monotonic() + 0.25
        with self._running():
            return task.tick()
        return None  # it has crashed

    def own(self, thread_id: str) -> None:
        """Own a thread that was offered, if this process is a worker."""
        driving = None if self.handles is None else self.handles.driving
        if driving is not None:
            with contextlib.suppress(StoreError):  # the thread is offered again
                driving.own(thread_id, lambda: None)

    # --- what the runtime sees as its scheduler -----------------------------------------------------------------

    @property
    def clock(self) -> Any:  # noqa: ANN401 - a virtual clock
        """See `Scheduler.clock`."""
        return self.scheduler.clock

    def wake(self, task: Task) -> None:
        """See `Scheduler.wake`."""
        if not self.is_dead:
            self.scheduler.wake(self._tasks.setdefault(task, _NodeTask(self, task)))

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """See `VirtualScheduler.call_later`."""
        self.scheduler.call_later(seconds, lambda: self.run(action))

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """See `Scheduler.wait`."""
        return self.scheduler.wait(done, changed, timeout)

    def sleep(self, seconds: float) -> None:
        """See `Scheduler.sleep`."""
        self.scheduler.sleep(seconds)

    def close(self, timeout: float) -> None:
        """See `Scheduler.close`."""
        del timeout

    # --- the sender of requests (see `StoreHandle`) --------------------------------------------------------------

    def is_owned(self) -> bool:
        """Return whether the others still count this process as alive, if it is a worker."""
        driving = None if self.handles is None else self.handles.driving
        return not self.is_dead and (driving is None or self.tables.is_alive(driving.leases.worker_id))

    # --- regular calls --------------------------------------------------------------------------------------------

    def begin(self, handles: ClusterHandles) -> None:
        """Let the heart beat, and search for changes regularly."""
        self.handles = handles
        self._every(_LOOK, handles.look)
        if (driving := handles.driving) is not None:
            self._every(HEARTBEAT, lambda: None if self._hangs else driving.beat())

    def _every(self, seconds: float, action: Callable[[], object]) -> None:
        def act() -> None:
            with contextlib.suppress(StoreError):
                action()

        def again() -> None:
            if not self.is_dead:
                self.run(act)
                self.scheduler.call_later(seconds, again)

        self.scheduler.call_later(self.rng.uniform(0, seconds), again)


class _NodeTask:
    """A task of one process."""

    def __init__(self, node: Node, task: Task) -> None:
        self._node = node
        self._task = task

    def tick(self) -> float | None:
        """See `Task.tick`."""
        return self._node.tick(self._task)

    def describe(self) -> str:
        """See `Task.describe`."""
        return self._task.describe()
