"""Drives threads in this process, as one worker of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

from gpt_agent_fsm.cluster import upgrades
from gpt_agent_fsm.cluster.accounts import ClusterAccount
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.leases import Leases
from gpt_agent_fsm.cluster.placing import Placer, Placing
from gpt_agent_fsm.cluster.writing import Accepting, Announced, OwnedStore
from gpt_agent_fsm.engine.context import driven_elsewhere
from gpt_agent_fsm.engine.handles import HandleParts
from gpt_agent_fsm.engine.protocols import Lease
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.logs import Log, get_logger

__all__ = ["Driving", "WorkerStatus"]

log: Log = get_logger(__name__)

HEARTBEAT = 2.0
"""Seconds between two heartbeats of a worker, which also search for threads without an owner."""
_PATIENCE = 3.0
"""Seconds after which a thread is offered again, if a worker was found for it and has not claimed it."""
_CLAIMS_FIRST = 1.0
"""Seconds for which the thread of a dead worker waits after its claim. A worker leaves many threads behind, and each of
them should have a new worker before the new workers are busy with some of them."""
_REST = 1.0
"""Seconds for which a worker keeps a thread that rests. The next message often comes soon."""


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """What one worker does at this moment.

    Attributes:
        id: the name of the worker in the cluster. It changes if the others have taken it for dead.
        threads: the ids of the threads that it owns, in order.
        concurrency: how many threads it owns at most.
        is_alive: False if its last renewal is too long ago. It sends no requests until the next one.
    """

    id: str
    threads: tuple[str, ...]
    concurrency: int
    is_alive: bool


class Driving:
    """The drivers of one worker, its leases and its heart.

    Attributes:
        roster: the drivers.
        leases: the leases of this worker.
        account: what the cluster knows about the API key of this worker.
    """

    def __init__(
        self,
        database: ClusterDatabase,
        placer: Placer,
        accepting: Accepting,
        news: Announced,
        parts: HandleParts,
        concurrency: int,
        account: str,
    ) -> None:
        self._database = database
        self._placer = placer
        self._concurrency = concurrency
        clock = parts.scheduler.clock
        self.account: ClusterAccount = ClusterAccount(database, account, clock, parts.settings, news.tell_account)
        self.leases: Leases = Leases(database, clock, concurrency, self._tick_soon, placer)
        store = OwnedStore(database, self.leases.of, accepting.accept, news)
        self.roster: Roster = parts.make_roster(store, lambda _: self.leases, _REST, self.account.gate)
        self._heard: set[str] = set()
        """Threads of which news came after they were claimed, and before their drivers were there."""
        self._stopped = threading.Event()
        self._has_given_up = False
        self._heart = threading.Thread(target=self._beat, name="gpt-agent-fsm-heart", daemon=True)
        self._placing: Placing | None = None

    def start(self) -> None:
        """Let the heart beat, and take threads."""
        self._heart.start()
        self._placing = self._placer.work(self._concurrency, self.own)

    @property
    def status(self) -> WorkerStatus:
        """See `Cluster.worker`."""
        held = sorted(lease.thread_id for lease in self.leases.held)
        return WorkerStatus(
            id=self.leases.worker_id,
            threads=tuple(held),
            concurrency=self._concurrency,
            is_alive=self.leases.is_alive,
        )

    def _tick_soon(self, thread_id: str) -> None:
        self.roster.tick_soon(thread_id)

    def own(self, thread_id: str, done: Callable[[], None]) -> bool:
        """See `placing.Own`."""
        lease = None
        try:
            lease = self.leases.claim(thread_id, done)
            if lease is None:
                return False
            self.roster.own(thread_id, lease, pause=_CLAIMS_FIRST if lease.after_death else 0.0)
        except BaseException as error:
            if lease is not None:
                lease.was_useless = True
                self.leases.release(lease, more=True)
            if not isinstance(error, Exception):
                raise
            # A worker of another version may be able to drive the thread, or this one after a moment.
            known = isinstance(error, StoreError)
            log.warning("%s is not driven here, and is offered again: %s", thread_id, error, exc_info=not known)
            return False
        if lease.is_lost:
            self._let_go(lease)
        elif thread_id in self._heard:
            self._heard.discard(thread_id)
            self.note_commands(thread_id)
        return True

    def _let_go(self, lease: Lease) -> None:
        """Remove the driver of a lost lease, if it is there."""
        driver = self.roster.get(lease.thread_id)
        if driver is not None and driver.lease is lease:
            self.roster.remove(driver, "store_taken", driven_elsewhere(lease.thread_id))

    def note_commands(self, thread_id: str) -> None:
        """Let the driver of a thread look into its inbox, if it is here."""
        driver = self.roster.get(thread_id)
        if driver is not None:
            driver.note_commands()
            self.roster.tick_soon(thread_id)
        elif self.leases.of(thread_id) is not None:
            self._heard.add(thread_id)

    def note_all_commands(self) -> None:
        """Let the drivers look into all inboxes in which commands wait."""
        for thread_id in self.leases.threads_with_commands():
            self.note_commands(thread_id)

    # --- the heart --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT):
            try:
                self.beat()
            except StoreError as error:
                log.warning("the heartbeat of this worker failed, and is tried again: %s", error)
            except Exception:
                log.exception("the heartbeat of this worker failed, and is tried again")

    def beat(self) -> None:
        """Renew the leases, release lost threads, and search for threads without an owner.

        Drive nothing from now on if an upgrade of the tables was finished for which this process is too old, or if a
        `SQLStore` has the database.
        """
        if self._has_given_up:
            return
        try:
            self._renew()  # first, because neither readers nor a problem of the job queue may delay it
        except StoreTaken as error:
            self._give_up(str(error))
        finally:
            # Even if this failed, because the tables may no longer be those that this version knows.
            with self._database.asking() as connection:
                too_old = upgrades.reason(connection)
            if too_old:
                self._give_up(too_old)
        if self._has_given_up:
            return
        problems = []
        for part in (self.leases.save_releases, self._clean_up, self._sweep, self.note_all_commands, self.account.look):
            try:
                part()
            except StoreError as error:
                problems.append(error)  # a part that fails must not stop the others
                self._renew()  # it may have waited for a lock almost as long as a lease lasts
        if problems:
            raise problems[0]

    def _renew(self) -> None:
        for lease in self.leases.heartbeat(self.leases.held):
            self._let_go(lease)

    def _clean_up(self) -> None:
        with self._database.transaction() as connection:
            self._placer.clean_up(connection)

    def _sweep(self) -> None:
        if offered := self.leases.sweep(_PATIENCE):
            log.info("threads with work and without an owner: %d; workers were asked for", offered)

    def _give_up(self, reason: str) -> None:
        log.error("this worker stops: %s", reason)
        self._has_given_up = True
        self.stop()

    # --- the end ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more threads, and release all. Other workers continue with them. Does not block."""
        if self._placing is not None:
            self._placing.stop()
        self.roster.close()

    def close(self) -> None:
        """End, after the last ticks of the drivers. Idempotent."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._heart.is_alive() and threading.current_thread() is not self._heart:
            self._heart.join()
        if self._placing is not None:
            self._placing.close()
        try:
            self.leases.leave()
        except StoreError as error:
            log.warning("this worker could not say that it ends; others notice it in a few seconds: %s", error)
