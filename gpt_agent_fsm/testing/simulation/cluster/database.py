"""The database, the news and the offers of a simulated cluster, as one process sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

import attrs

from gpt_agent_fsm.cluster.cluster import Cluster
from gpt_agent_fsm.cluster.handles import ClusterHandles
from gpt_agent_fsm.cluster.placing import Own
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.handles import HandleParts, ThreadRoster
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import AssistantMessageDelta
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Ownership
from gpt_agent_fsm.testing.crashing import Crash
from gpt_agent_fsm.testing.simulation.cluster.node import Node
from gpt_agent_fsm.testing.simulation.cluster.tables import MemoryTables

__all__ = ["SimulatedCluster"]

_SOON = 0.1
"""Seconds until most news and offers arrive."""


class NodeDatabase:
    """The database, as one process sees it: sometimes the process crashes, or the outcome is unknown."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.origin = Origin("Cluster")
        self.name = "the simulated database"
        self.cluster = f"{id(node)}"
        self.reader = node.tables
        self.api = None

    @contextlib.contextmanager
    def transaction(self, *, doubt: str = "") -> Iterator[MemoryTables]:
        """See `ClusterDatabase.transaction`."""
        del doubt
        faults, tables = self._node.faults, self._node.tables
        crashes, fails = faults.happen(), faults.happen()
        before = tables.save() if (crashes or fails) and faults.half() else None
        yield tables
        if before is not None:
            tables.restore(before)
        if crashes:
            raise Crash
        if fails:
            raise StoreError("The simulated database has not answered.")

    def asking(self) -> AbstractContextManager[MemoryTables]:
        """See `ClusterDatabase.asking`."""
        return self.transaction()

    def agree(self, api: str) -> None:
        """See `ClusterDatabase.agree`. All simulated processes have the same API."""

    def check_open(self) -> None:
        """See `ClusterDatabase.check_open`."""

    def close(self) -> None:
        """See `ClusterDatabase.close`."""


class SimulatedCluster(Cluster):
    """The store of a runtime in one simulated process."""

    def __init__(self, node: Node, on_sent: Callable[[], object], *, drive: bool) -> None:
        self._node = node
        self._on_sent = on_sent
        database: Any = NodeDatabase(node)
        self._set_up(database, _Placer(node), drive=drive, concurrency=100, account="the key")

    def make_roster(self, parts: HandleParts) -> ThreadRoster:
        """See `Cluster.make_roster`. After each commit that marks a request as sent, something may happen."""

        def make(
            store: Any,  # noqa: ANN401 - its method is replaced
            make_ownership: Callable[[Roster], Ownership] | None,
            rests_for: float | None,
            gate: Gate | None,
        ) -> Roster:
            commit = store.commit

            def then_disturb(snapshot: Snapshot, **fields: Any) -> Any:  # noqa: ANN401 - as `Store.commit`
                records = commit(snapshot, **fields)
                pending = snapshot.pending
                if pending is not None and pending.sent and pending.request.changes_server:
                    self._on_sent()
                return records

            store.commit = then_disturb
            return parts.make_roster(store, make_ownership, rests_for, gate)

        return super().make_roster(attrs.evolve(parts, make_roster=make))

    def _open_news(self, handles: ClusterHandles) -> None:
        self._herald: Any = _Herald(self._node)
        self._node.begin(handles)


class _Herald:
    """Tells the other processes. News may be late, and may be lost."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def tell(self, thread_id: str) -> None:
        """See `Herald.tell`."""
        self._to_all(lambda handles: handles.thread_changed(thread_id))

    def tell_account(self, name: str) -> None:
        """See `Herald.tell_account`."""
        self._to_all(lambda handles: handles.account_changed(name))

    def relay(self, delta: AssistantMessageDelta) -> None:
        """See `Herald.relay`."""
        self._to_all(lambda handles: handles.piece_came(delta), delay=_SOON)

    def close(self) -> None:
        """See `Herald.close`."""

    def _to_all(self, tell: Callable[[ClusterHandles], None], delay: float | None = None) -> None:
        rng = self._node.rng
        for other in self._node.others():
            if other is self._node or other.handles is None or rng.random() < 0.1:
                continue
            seconds = rng.choice([0.0, _SOON, 3.0]) if delay is None else delay
            other.scheduler.call_later(seconds, lambda to=other: to.run(lambda: tell(to.handles)))  # type: ignore[misc]


class _Placer:
    """Offers threads to a live worker, soon or later. An offer may be lost, or be made twice."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def prepare(self, connection: object) -> None:
        """See `Placer.prepare`."""

    def offer(self, connection: object, thread_ids: Collection[str]) -> None:
        """See `Placer.offer`. An offer of a transaction that failed does no harm."""
        del connection
        rng = self._node.rng
        for thread_id in thread_ids:
            for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 2])):
                self._node.tables.jobs[thread_id] += 1
                self._node.scheduler.call_later(rng.choice([0.0, _SOON, 5.0]), lambda it=thread_id: self._take(it))  # type: ignore[misc]

    def waiting(self, connection: object, thread_ids: Collection[str]) -> Collection[str]:
        """See `Placer.waiting`."""
        del connection
        return [thread_id for thread_id in thread_ids if self._node.tables.jobs[thread_id]]

    def _take(self, thread_id: str) -> None:
        self._node.tables.jobs[thread_id] -= 1
        workers = [node for node in self._node.others() if node.handles is not None and node.handles.driving]
        if workers:
            worker = self._node.rng.choice(workers)
            worker.run(lambda: worker.own(thread_id))

    def work(self, concurrency: int, own: Own) -> Any:  # noqa: ANN401 - nothing is started
        """See `Placer.work`."""

    def clean_up(self, connection: object) -> None:
        """See `Placer.clean_up`."""
