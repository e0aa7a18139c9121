"""Which threads this process drives: the four verbs of `Ownership`, on the tables of a cluster.

A process that drives threads is a worker. It renews one row of its own every few seconds, and owns a thread as long as
this row exists and the thread's row names it. The other workers remove the row when it is late. From then on, the
worker no longer has a thread, and it needs a new id. The worker itself counts the time from the moment before it sent
its last renewal, so it stops sending requests before the others may take its threads.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator

import attrs
import sqlalchemy as sa

from gpt_agent_fsm.cluster import tables, upgrades
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.placing import Placer
from gpt_agent_fsm.cluster.tables import run
from gpt_agent_fsm.engine.protocols import Clock, Lease
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.stores.holder import Holder

__all__ = ["LEASE", "ClusterLease", "Leases"]

log: Log = get_logger(__name__)

LEASE = 8.0
"""The seconds for which a renewal holds. After that, another worker may take the threads over."""
_MARGIN = 1.0
"""The seconds before the end of that time from which the worker no longer sends requests."""


@attrs.define(eq=False)
class Worker:
    """The identity of this process as a worker. It ends when a renewal is late.

    Attributes:
        valid_until: the monotonic time until which this worker may send requests.
    """

    id: str
    valid_until: float


@attrs.define(eq=False)
class ClusterLease:
    """The right of this process to drive one thread.

    Attributes:
        epoch: how many times the thread had been claimed when this lease was made.
        commits: how many commits have been made under this lease.
        attempt: the content of the commit whose outcome is unknown; None if there is none.
        mark: the number of the last record that this process has announced; 0 if it has announced none.
        on_release: called once when the lease has ended.
        after_death: True if the worker before has not released the thread.
        was_useless: True if the thread could not be driven.
    """

    thread_id: str
    worker: Worker
    epoch: int
    clock: Clock
    on_release: Callable[[], object]
    after_death: bool = False
    was_useless: bool = False
    commits: int = 0
    attempt: object = None
    mark: int = 0
    is_lost: bool = False

    def holds(self) -> bool:
        """See `Lease.holds`. Makes no query: the time of the last renewal decides."""
        return not self.is_lost and self.clock.monotonic() < self.worker.valid_until


class Leases:
    """The leases of this process. Implements `Ownership`. Safe to use from any OS thread.

    Args:
        tick_soon: called with the id of a thread that must be ticked, if this process drives it.
        placer: finds a worker for a thread.
    """

    def __init__(
        self,
        database: ClusterDatabase,
        clock: Clock,
        concurrency: int,
        tick_soon: Callable[[str], None],
        placer: Placer,
    ) -> None:
        self._database = database
        self._clock = clock
        self._concurrency = concurrency
        self._tick_soon = tick_soon
        self._placer = placer
        # Reentrant: an operating system signal may interrupt a method that holds the lock, and the signal's handler may
        # close the runtime.
        self._lock = threading.RLock()
        self._held: dict[str, ClusterLease] = {}
        self._unreleased: dict[ClusterLease, bool] = {}
        """Leases whose end is not saved yet, because the database did not answer; and whether they leave work."""
        self._claiming: Counter[str] = Counter()
        """How many claims of each thread are in progress."""
        self._unclear: set[str] = set()
        """Threads whose claim has failed, so that nobody knows whether this worker owns them."""
        self._worker = self._register()

    # --- this worker ----------------------------------------------------------------------------------------

    @property
    def worker_id(self) -> str:
        """The id of this worker."""
        return self._worker.id

    @property
    def is_alive(self) -> bool:
        """True while the last renewal is young enough to send requests."""
        return self._clock.monotonic() < self._worker.valid_until

    def _register(self) -> Worker:
        here, sent = Holder.here(), self._clock.monotonic()
        worker = Worker(id=f"{here.host}-{here.pid}-{uuid.uuid4().hex[:8]}", valid_until=sent + LEASE - _MARGIN)
        with self._database.transaction() as connection:
            tables.check_held(connection, self._database.api)
            values = attrs.asdict(here) | {
                "concurrency": self._concurrency,
                "lease": LEASE,
                "version": upgrades.VERSION,
            }
            run(connection, tables.REGISTER, worker=worker.id, **values)
        return worker

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """See `Ownership.heartbeat`. One row stands for all leases, so they are lost together or not at all.

        Leases whose claim ends during this call are included. Raises `StoreError` if the database fails, and
        `StoreTaken` if a `SQLStore` has taken it over, or if the cluster has another API now.
        """
        worker, sent = self._worker, self._clock.monotonic()
        with self._database.transaction() as connection:
            is_alive = run(connection, tables.RENEW, worker=worker.id, lease=LEASE).first() is not None
        if is_alive:
            worker.valid_until = sent + LEASE - _MARGIN
            return ()
        worker.valid_until = sent
        successor = self._register()
        log.warning("this worker was late, and its threads were given to others; it continues under a new name")
        with self._lock:
            # A claim in progress notices that its worker has ended, or is among these leases.
            self._worker = successor
            known = dict.fromkeys((*leases, *self._held.values()))
        lost = [lease for lease in known if isinstance(lease, ClusterLease) and lease.worker is worker]
        for lease in lost:
            lease.is_lost = True
        return lost

    def leave(self) -> None:
        """End this worker. Its threads are free immediately."""
        self.save_releases()
        self._worker.valid_until = self._clock.monotonic()
        with self._database.transaction() as connection:
            run(connection, tables.UNREGISTER, worker=self._worker.id)

    # --- the four verbs -------------------------------------------------------------------------------------

    @property
    def held(self) -> tuple[ClusterLease, ...]:
        """The leases that this process has."""
        with self._lock:
            return tuple(self._held.values())

    def of(self, thread_id: str) -> ClusterLease | None:
        """Return the lease of a thread, or None if this process has none."""
        return self._held.get(thread_id)

    def claim(self, thread_id: str, on_release: Callable[[], object] = lambda: None) -> ClusterLease | None:
        """See `Ownership.claim`. Returns None, too, if this process drives the thread already, or nobody knows it."""
        worker = self._worker
        with self._lock:
            self._claiming[thread_id] += 1
        try:
            lease = self._claim(thread_id, worker, on_release)
            if lease is not None:
                with self._lock:
                    if worker is not self._worker:
                        return None  # the claim ended with its worker
                    self._held[thread_id] = lease
        except BaseException:
            # It may be unknown whether the claim took effect. The next heartbeat gives the thread back.
            with self._lock:
                self._unclear.add(thread_id)
            raise
        finally:
            with self._lock:
                self._claiming -= Counter((thread_id,))
        return lease

    def _claim(self, thread_id: str, worker: Worker, on_release: Callable[[], object]) -> ClusterLease | None:
        """Claim a thread for this worker. Return the lease, or None if the thread cannot be claimed."""
        with self._database.transaction() as connection:
            before = run(connection, tables.LOCK, thread=thread_id).one_or_none()
            epoch = run(connection, tables.CLAIM, thread=thread_id, worker=worker.id).scalar_one_or_none()
        if before is None or epoch is None:
            return None
        after_death = before.worker is not None
        return ClusterLease(thread_id, worker, int(epoch), self._clock, on_release, after_death)

    def release(self, lease: Lease, *, more: bool) -> None:
        """See `Ownership.release`. If there is work left, another worker is asked for. Raises nothing.

        A thread whose lease was useless is offered by a sweep instead, after a pause. Otherwise it would be claimed and
        released again and again.
        """
        assert isinstance(lease, ClusterLease)  # noqa: S101 - `claim` makes no others
        with self._lock:
            if self._held.get(lease.thread_id) is lease:
                del self._held[lease.thread_id]
            self._unreleased[lease] = more
        lease.is_lost = True
        try:
            with self._tried_again(lease.thread_id):
                self._save_release(lease, tables.LOCK)
        finally:
            lease.on_release()

    def wake(self, thread_id: str) -> None:
        """See `Ownership.wake`. Other processes hear of a command when it is accepted."""
        self._tick_soon(thread_id)

    def save_releases(self) -> None:
        """Save the ends of leases that could not be saved before.

        If somebody has locked the row of one thread, the others are saved nevertheless.
        """
        for lease in list(self._unreleased):
            with self._tried_again(lease.thread_id):
                self._save_release(lease, tables.LOCK_IF_FREE)
        for thread_id in list(self._unclear):
            with self._tried_again(thread_id):
                self._give_back(thread_id)

    @contextlib.contextmanager
    def _tried_again(self, thread_id: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            log.warning("%s is not released yet, and is tried again: %s", thread_id, error)

    def _give_back(self, thread_id: str) -> None:
        """Release a thread whose claim has failed, if the claim took effect nevertheless."""
        with self._database.transaction() as connection:
            row = run(connection, tables.LOCK_IF_FREE, thread=thread_id).one_or_none()
            if thread_id in self._claiming:
                return
            if row is not None and row.worker == self._worker.id and thread_id not in self._held:
                run(connection, tables.RELEASE, thread=thread_id, offer=True)
                self._placer.offer(connection, [thread_id])
        self._unclear.discard(thread_id)

    def _save_release(self, lease: ClusterLease, lock: str) -> None:
        """Free the thread's row, unless another OS thread has. `lock`: the statement that locks the row."""
        more = self._unreleased.get(lease)
        if more is None:
            return
        with self._database.transaction() as connection:
            self._free(connection, lease, lock, more=more)
        with self._lock:
            self._unreleased.pop(lease, None)

    def _free(self, connection: sa.Connection, lease: ClusterLease, lock: str, *, more: bool) -> None:
        """Free the thread's row. A command that came at the last moment counts as work, because the row is locked."""
        thread_id = lease.thread_id
        row = run(connection, lock, thread=thread_id).one_or_none()
        if row is None or (row.worker, row.epoch) != (lease.worker.id, lease.epoch):
            return
        if lease.mark:
            run(connection, tables.SAVE_MARK, thread=thread_id, mark=lease.mark)
        offer = more or bool(run(connection, tables.HAS_COMMANDS, thread=thread_id).scalar_one())
        run(connection, tables.RELEASE, thread=thread_id, offer=offer)
        if offer and not lease.was_useless:
            self._placer.offer(connection, [thread_id])

    # --- threads without an owner ---------------------------------------------------------------------------

    def sweep(self, patience: float, most: int = 500) -> int:
        """Remove late workers, and ask for a worker for each thread that has work and no owner. Return how many.

        A thread that was offered less than `patience` seconds ago is left out, because its next worker may be about to
        claim it. A thread that still waits for a worker with room is not offered a second time.
        """
        with self._database.transaction() as connection:
            run(connection, tables.BURY)
        with self._database.transaction() as connection:
            found = [row.thread_id for row in run(connection, tables.ORPHANS, patience=patience, most=most)]
            waiting = self._placer.waiting(connection, found) if found else ()
            left = [thread_id for thread_id in found if thread_id not in waiting]
            if found:
                run(connection, tables.OFFERED, threads=found)
            if left:
                self._placer.offer(connection, left)
        return len(left)

    def threads_with_commands(self) -> list[str]:
        """Return the threads of this worker in whose inbox commands wait."""
        with self._database.asking() as connection:
            return [row.thread_id for row in run(connection, tables.WITH_COMMANDS, worker=self._worker.id)]
