"""Writes threads into the database of a cluster: for everybody, and for the worker that owns a thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from gpt_agent_fsm.cluster import tables
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.leases import ClusterLease
from gpt_agent_fsm.cluster.tables import run
from gpt_agent_fsm.engine.context import driven_elsewhere
from gpt_agent_fsm.errors import StoreTaken
from gpt_agent_fsm.events import AssistantMessageDelta, Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Lease, Record, Saved
from gpt_agent_fsm.stores import codec

__all__ = ["Accepting", "Announced", "OwnedStore"]


_DOUBT = "It is unknown whether the command was accepted; search the thread for it before you give it again."


class Announced(Protocol):
    """What a worker tells the other processes, and the handles of its own."""

    def tell(self, thread_id: str) -> None:
        """Tell all processes that something has changed in a thread."""
        ...

    def relay(self, delta: AssistantMessageDelta) -> None:
        """Tell the other processes about a piece of a message."""
        ...

    def tell_account(self, name: str) -> None:
        """Tell the other processes that an account has changed."""
        ...

    def is_followed(self, thread_id: str, seq: int | None) -> bool:
        """See `SharedStore.is_followed`."""
        ...

    def drivers_ended(self) -> None:
        """Note that the runtime was closed and the last driver of this process has ended."""
        ...


class Accepting:
    """Accepts commands for any thread, from any process.

    Args:
        offer: asks for a worker for some threads, inside the transaction of the given connection.
        tell: tells other processes that something has changed in a thread.
    """

    def __init__(
        self,
        database: ClusterDatabase,
        offer: Callable[[sa.Connection, Collection[str]], None],
        tell: Callable[[str], None],
    ) -> None:
        self._database = database
        self._offer = offer
        self._tell = tell

    def introduce(self, snapshot: Snapshot) -> None:
        """Save a thread, unless the database has it. Raises `StoreTaken` as `tables.check_held` does."""
        text, settled = codec.encode_snapshot(snapshot), snapshot.settled
        with self._database.transaction() as connection:
            tables.check_held(connection, self._database.api)
            run(connection, tables.INTRODUCE_THREAD, thread=snapshot.thread_id, settled=settled, snapshot=text)
            run(connection, tables.INTRODUCE_OWNER, thread=snapshot.thread_id)

    def accept(self, thread_id: str, command: Command) -> int:
        """See `Store.accept`. In the same transaction, a worker is asked for if nobody owns the thread.

        Raises `StoreTaken` if the database has no row of the thread, because a `SQLStore` has taken it over.
        """
        text = codec.encode_command(command)
        with self._database.transaction(doubt=_DOUBT) as connection:
            row = run(connection, tables.ACCEPT, thread=thread_id, command=text).one_or_none()
            if row is None:
                raise StoreTaken(f"{thread_id} is no thread of this cluster; connect again.")
            if not row.owned and not (row.worker is None and row.offered):
                run(connection, tables.OFFERED, threads=[thread_id])
                self._offer(connection, [thread_id])
        self._tell(thread_id)
        return int(row.accepted)


class OwnedStore:
    """The store of the drivers in one worker. Each write needs the lease of its thread.

    Args:
        lease_of: returns this worker's lease of a thread, or None.
        accept: accepts a command; see `Accepting.accept`.
        news: what the other processes are told.
    """

    commits_announced: bool = True
    """See `Store`."""

    def __init__(
        self,
        database: ClusterDatabase,
        lease_of: Callable[[str], ClusterLease | None],
        accept: Callable[[str, Command], int],
        news: Announced,
    ) -> None:
        self._database = database
        self._lease_of = lease_of
        self._news = news
        self._tell = news.tell
        self.accept: Callable[[str, Command], int] = accept
        self.relay: Callable[[AssistantMessageDelta], None] = news.relay
        self.is_followed: Callable[[str, int | None], bool] = news.is_followed
        reader = database.reader
        self.history: Callable[..., Sequence[Record]] = reader.history
        self.history_page: Callable[..., Sequence[Record]] = reader.history_page
        self.load: Callable[[str], Saved | None] = reader.load

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
        announced: bool = False,
        lease: Lease | None = None,
    ) -> Sequence[Record]:
        """See `SharedStore`. Without `lease`, it is enough that this worker owns the thread.

        If it is unknown whether a commit took effect, and the engine repeats it, the number of the commit shows it. The
        number counts only after everything else has succeeded, because the repetition may fail, too.
        """
        thread_id = snapshot.thread_id
        lease = self._owned(thread_id, lease)
        encoded = [codec.encode_event(event) for event in events]
        values: dict[str, Any] = {
            "settled": snapshot.settled,
            "due": due,
            "snapshot": codec.encode_snapshot(snapshot),
            "consumed": consumed,
            "events": len(events),
            "at": at,
            "kinds": [kind for kind, _ in encoded],
            "bodies": [body for _, body in encoded],
            "all_announced": announced,
            "mark": lease.mark,
            "removed": list(queue.removed),
            "numbers": [number for number, _ in queue.written],
            "messages": [codec.encode_message(message) for _, message in queue.written],
        }
        last_seq = self._save(lease, values, (values["snapshot"], consumed, encoded))
        if last_seq is None:
            records = self._records_of_last(thread_id, len(events))
        else:
            first = last_seq - len(events) + 1
            records = [Record(seq=seq, at=at, event=event) for seq, event in enumerate(events, first)]
        if announced and records:
            lease.mark = records[-1].seq
        self._tell(thread_id)
        return records

    def _save(self, lease: ClusterLease, values: dict[str, Any], content: object) -> int | None:
        """Save the next commit of a lease. Return the number of its last record, or None if it took effect before."""
        number = lease.commits + 1
        owner = {"thread": lease.thread_id, "worker": lease.worker.id, "epoch": lease.epoch, "commit": number}
        with self._database.transaction() as connection:
            saved = run(connection, tables.COMMIT, **owner, **values).one_or_none()
            if saved is not None:
                lease.attempt = content
            elif content != lease.attempt or not run(connection, tables.IS_COMMITTED, **owner).scalar_one_or_none():
                lease.is_lost = True
                raise driven_elsewhere(lease.thread_id)
        lease.commits, lease.attempt = number, None
        return None if saved is None else int(saved.last_seq)

    def _owned(self, thread_id: str, lease: Lease | None) -> ClusterLease:
        # A former driver may still be in its last tick when this process claims the thread again.
        owned = self._lease_of(thread_id)
        if owned is None or owned.is_lost or lease not in (None, owned):
            raise driven_elsewhere(thread_id)
        return owned

    def _records_of_last(self, thread_id: str, count: int) -> list[Record]:
        return list(self.history_page(thread_id, after=0, limit=count, newest=True)) if count else []

    def announced(self, thread_id: str, seq: int) -> None:
        """See `Store.announced`. The number is saved with the next commit, or when the thread is released."""
        lease = self._lease_of(thread_id)
        if lease is not None:
            lease.mark = max(lease.mark, seq)

    def commands_after(self, thread_id: str, number: int) -> list[tuple[int, Command]]:
        """Return the waiting commands with a number above `number`, in order."""
        with self._database.asking() as connection:
            rows = run(connection, tables.COMMANDS, thread=thread_id, after=number).all()
        return [(row.number, codec.decode_command(row.command)) for row in rows]

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`. Returns none, because threads are handed over one by one."""
        return {}

    def close(self) -> None:
        """See `Store.close`. The database stays open, because others may use it, too."""
        self._news.drivers_ended()
