"""The store of a runtime whose threads many processes share."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import psycopg.conninfo
import sqlalchemy as sa

from gpt_agent_fsm.cluster import tables
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.driving import Driving, WorkerStatus
from gpt_agent_fsm.cluster.handles import ClusterHandles, Followed
from gpt_agent_fsm.cluster.news import Ear, Herald
from gpt_agent_fsm.cluster.placing import Placer
from gpt_agent_fsm.cluster.procrastinating import ProcrastinatePlacer
from gpt_agent_fsm.cluster.pruning import prune
from gpt_agent_fsm.cluster.tables import run
from gpt_agent_fsm.cluster.writing import Accepting
from gpt_agent_fsm.engine.handles import HandleParts, ThreadRoster
from gpt_agent_fsm.engine.webhooks import Notice
from gpt_agent_fsm.errors import StoreError, explains_keywords
from gpt_agent_fsm.events import AssistantMessageDelta, Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import AccountBackend, Backend, NamedBackend, Record, Saved, ThreadRow, Usage, offers
from gpt_agent_fsm.stores.engine import with_defaults
from gpt_agent_fsm.stores.holder import Holder

__all__ = ["Cluster"]

_NOTIFY = "SELECT pg_notify(%(channel)s, p) FROM unnest(%(payloads)s::text[]) AS p"

_KEEPALIVES = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
"""A connection that only listens sends nothing, so it would not notice for hours that the server's machine is gone."""


def _conninfo_of(url: str) -> str:
    """Return the connection string of libpq for a URL that SQLAlchemy understands. libpq reads such URLs otherwise."""
    parsed = with_defaults(sa.make_url(url), _KEEPALIVES).set(drivername="postgresql+psycopg")
    _, parameters = parsed.get_dialect()().create_connect_args(parsed)
    return psycopg.conninfo.make_conninfo(**parameters)


_followed_lock = threading.Lock()
_followed: weakref.WeakValueDictionary[tuple[int, str], Followed] = weakref.WeakValueDictionary()
"""What an operating system process follows in each cluster. A child also has what its parent followed."""

if hasattr(os, "register_at_fork"):
    # If another OS thread held the lock during a fork, nobody would release it in the child.
    os.register_at_fork(
        before=_followed_lock.acquire, after_in_parent=_followed_lock.release, after_in_child=_followed_lock.release
    )


@explains_keywords
class Cluster:
    """The store of a `Runtime` whose threads many processes share, in a PostgreSQL database.

    Every process that opens a `Cluster` on the database gets the same agents: `Runtime.connect` returns a handle. A
    command goes into the thread's inbox, and the properties show what the database has. At each moment one process
    drives a thread: the worker that owns it. A runtime on a `Cluster` drives nothing by itself. With `drive=True`, its
    process is a worker, too.

    If a worker dies, hangs or loses the database, the other workers take its threads over after about ten seconds. It
    can no longer write, and sends no request that changes the server, except if it is stopped within the last
    statement before that request.

    A handle is alive until its own process lets it go, by `shutdown` or by closing the runtime. This does not stop the
    thread. Each process hears the events of the threads of which it has a handle. A worker also sends the signals of
    the threads that it drives. So an effect that must happen once belongs into a tool, or into the handler of one
    process.

    The tables are made and migrated when a `Cluster` is opened. They are the tables of `SQLStore`, with a few more, so
    the commands that look at a store work. If a `SQLStore` is opened for writing on the database, it takes all threads
    over, and the handles raise `StoreTaken`.

    Make the object after the last fork of the process; see `Runtime`. In a child, every method raises `UsedAfterFork`.

    Args:
        url: `postgresql://user:password@host/database`.
        drive: True if this process drives threads.
        concurrency: how many threads this process drives at most.
        account: the name of the account whose limits the requests of this process count for. Processes with the same
            name tell each other of rate limits and of an exhausted balance, and share `Settings.requests_per_minute`.
            By default, the name is made from the address and the key of the backend, by a keyed hash.
        timeout: the seconds that a call may take if the database does not answer.
        lock_timeout: the part of `timeout` that a call may wait for a lock.

    Opening blocks for a few queries. Raises `StoreError` if the database cannot be used, and `ImportError` without the
    extra `cluster`. All threads of a cluster are on one API: a `Runtime` with the backend of another one raises
    `StoreError`.
    """

    def __init__(
        self,
        url: str,
        *,
        drive: bool = False,
        concurrency: int = 500,
        account: str | None = None,
        timeout: float = 20.0,
        lock_timeout: float = 5.0,
    ) -> None:
        if type(concurrency) is not int or concurrency < 1:
            raise ValueError(f"Cluster: concurrency must be a whole number from 1 up, not {concurrency!r}")
        database = ClusterDatabase(url, timeout=timeout, lock_timeout=lock_timeout)
        conninfo = _conninfo_of(url)
        placer = ProcrastinatePlacer(conninfo)
        try:
            with database.transaction() as connection:
                tables.lock(connection)
                placer.prepare(connection)
        except BaseException:
            database.close()
            raise
        self._conninfo = conninfo
        self._set_up(database, placer, drive=drive, concurrency=concurrency, account=account)

    def _set_up(
        self, database: ClusterDatabase, placer: Placer, *, drive: bool, concurrency: int, account: str | None = None
    ) -> None:
        self._database = database
        self._placer = placer
        self._drive = drive
        self._concurrency = concurrency
        self._account = account
        self._herald: Herald | None = None
        self._ear: Ear | None = None
        self._handles: ClusterHandles | None = None
        with _followed_lock:
            self._followed = _followed.setdefault((os.getpid(), database.cluster), Followed())
        self._accepting = Accepting(database, placer.offer, self._tell_command)

    def __repr__(self) -> str:
        return f"<Cluster on {self._database.name}{', driving' if self._drive else ''}>"

    @property
    def worker(self) -> WorkerStatus | None:
        """What this process drives; None if it drives nothing, or if there is no runtime yet. Asks nobody."""
        driving = None if self._handles is None else self._handles.driving
        return None if driving is None else driving.status

    # --- the runtime ----------------------------------------------------------------------------------------

    def make_roster(self, parts: HandleParts) -> ThreadRoster:
        """See `SharedStore`. The runtime calls this once."""
        if self._handles is not None:
            raise ValueError("This Cluster is in use by a runtime that is open; make another Cluster object.")
        if offers(parts.backend, NamedBackend):
            self._database.agree(parts.backend.api)
        driving = None
        if self._drive:
            account = self._account or self._account_of(parts.backend)
            driving = Driving(self._database, self._placer, self._accepting, self, parts, self._concurrency, account)
        self._handles = ClusterHandles(
            parts,
            self,
            self._database,
            self._accepting,
            self._followed,
            driving,
            self._tell_webhook,
            self.close,
        )
        self._open_news(self._handles)
        return self._handles

    def _account_of(self, backend: Backend) -> str:
        return backend.account(self._database.cluster.encode()) if offers(backend, AccountBackend) else "unknown"

    def _open_news(self, handles: ClusterHandles) -> None:
        """Begin to tell the other processes news, and to hear theirs. Let the OS threads of the handles begin."""
        name, channel = f"{Holder.here().host}-{os.getpid()}-{id(self):x}", f"gpt_agent_{self._database.cluster}"

        def send(payloads: list[str]) -> None:
            with self._database.asking() as connection:
                run(connection, _NOTIFY, channel=channel, payloads=payloads)

        self._herald = Herald(send, name)
        self._ear = Ear(self._connect_ear, channel, name, handles)
        handles.start()

    def _connect_ear(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._conninfo, autocommit=True)

    def _tell_command(self, thread_id: str) -> None:
        """Tell the owner of a thread that a command was accepted, and everybody else, too."""
        if self._handles is not None and self._handles.driving is not None:
            self._handles.driving.note_commands(thread_id)
        self.tell(thread_id)

    def _tell_webhook(self, notice: Notice) -> None:
        if self._herald is not None:
            self._herald.tell_webhook(notice)

    # --- what the drivers of this process tell (see `Announced`) ---------------------------------------------

    def tell(self, thread_id: str) -> None:
        """See `Announced.tell`."""
        self._followed.tell(thread_id)
        if self._herald is not None:
            self._herald.tell(thread_id)

    def relay(self, delta: AssistantMessageDelta) -> None:
        """See `Announced.relay`."""
        self._followed.relay(delta)
        if self._herald is not None:
            self._herald.relay(delta)

    def tell_account(self, name: str) -> None:
        """See `Announced.tell_account`."""
        if self._herald is not None:
            self._herald.tell_account(name)

    def is_followed(self, thread_id: str, seq: int | None) -> bool:
        """See `SharedStore.is_followed`."""
        return self._followed.has(thread_id, seq)

    def drivers_ended(self) -> None:
        """See `Announced.drivers_ended`."""
        if self._handles is not None:
            self._handles.release_if_last()

    # --- the store ------------------------------------------------------------------------------------------

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`. If nobody owns the thread, a worker is asked for in the same transaction.

        If it is unknown whether the call took effect, the error says so, and the command is not removed.
        """
        return self._accepting.accept(thread_id, command)

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
    ) -> Sequence[Record]:
        """Save a new thread without events. Raises `StoreError` for anything else: only its owner writes a thread."""
        del at
        if consumed or events or due is not None or queue != NO_CHANGE:
            raise StoreError("Only the worker that owns a thread of a cluster may write it.")
        self._accepting.introduce(snapshot)
        return ()

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`. Does nothing: the owner of a thread notes what was announced."""

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`. Returns none: workers are asked for, thread by thread."""
        return {}

    def claim_key(self, key: str, thread_id: str) -> str:
        """See `KeyedStore.claim_key`. The key is unique in the whole cluster."""
        with self._database.transaction() as connection:
            run(connection, tables.CLAIM_KEY, key=key, thread=thread_id)
        return self.find(key) or thread_id

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        return self._database.reader.load(thread_id)

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        return self._database.reader.history(thread_id, after)

    def history_page(self, thread_id: str, *, after: int, limit: int, newest: bool = False) -> Sequence[Record]:
        """See `PagingStore.history_page`."""
        return self._database.reader.history_page(thread_id, after=after, limit=limit, newest=newest)

    def news(self, thread_id: str, *, after: int, limit: int) -> Saved | None:
        """See `FollowedStore.news`."""
        return self._database.reader.news(thread_id, after=after, limit=limit)

    def find(self, key: str) -> str | None:
        """See `KeyedStore.find`."""
        return self._database.reader.find(key)

    def prune(self, older_than: float | timedelta) -> int:
        """See `PrunableStore.prune`. Any process may call this, while others work."""
        return prune(self._database, older_than)

    def usage(self) -> Usage:
        """See `CountingStore.usage`."""
        return self._database.reader.usage()

    def threads(self) -> Sequence[ThreadRow]:
        """See `ListingStore.threads`."""
        return self._database.reader.threads()

    def mark(self) -> Hashable:
        """See `MarkedStore.mark`. It also changes with transactions of other programs in the database."""
        with self._database.asking() as connection:
            return str(run(connection, tables.SNAPSHOT_OF_ALL).scalar_one())

    def thread_marks(self) -> Mapping[str, Hashable]:
        """See `MarkedStore.thread_marks`."""
        return self._database.reader.thread_marks()

    def close(self) -> None:
        """See `Store.close`. A runtime closes its store by itself."""
        if self._database.origin.was_forked:
            return
        for part in (self._ear, self._herald):
            if part is not None:
                part.close()
        self._database.close()
