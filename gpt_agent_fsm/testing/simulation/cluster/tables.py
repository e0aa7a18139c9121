"""The tables of a cluster in memory. Each statement of `gpt_agent_fsm.cluster` is a method here."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from gpt_agent_fsm.cluster import accounts, tables, upgrades
from gpt_agent_fsm.machine.queue import Queue
from gpt_agent_fsm.ports import Clock, Record, Saved
from gpt_agent_fsm.stores import codec
from gpt_agent_fsm.stores.holder import CLUSTER

__all__ = ["MemoryTables", "Row"]

_NEVER = float("-inf")


class Row(tuple[Any, ...]):
    """A row of a result. Its values have numbers and names."""

    _names: tuple[str, ...]

    def __new__(cls, **values: Any) -> Row:  # noqa: ANN401 - SQL values
        """Return a row with these names and values."""
        row = super().__new__(cls, values.values())
        row._names = tuple(values)
        return row

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - SQL values
        try:
            return self[self._names.index(name)]
        except ValueError:
            raise AttributeError(name) from None


class _Result:
    """The result of a statement, with the methods of SQLAlchemy that the cluster uses."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator of rows
        return iter(self._rows)

    def all(self) -> list[Row]:
        return self._rows

    def first(self) -> Row | None:
        return self._rows[0] if self._rows else None

    one_or_none = first

    def scalar_one_or_none(self) -> Any:  # noqa: ANN401 - a SQL value
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:  # noqa: ANN401 - a SQL value
        return self._rows[0][0]


@attrs.define
class _Thread:
    snapshot: str
    settled: bool
    unfinished: bool = False
    due: float | None = None
    last_seq: int = 0
    announced: int = 0


@attrs.define
class _Owner:
    accepted: int = 0
    epoch: int = 0
    commits: int = 0
    worker: str | None = None
    offered_at: float = _NEVER


@attrs.define
class _Account:
    limits: int = 0
    limited_until: float = _NEVER
    probe_until: float = _NEVER
    denial: str | None = None
    changes: int = 0


@attrs.define
class _Tables:
    threads: dict[str, _Thread] = attrs.field(factory=dict)
    owners: dict[str, _Owner] = attrs.field(factory=dict)
    workers: dict[str, float] = attrs.field(factory=dict)
    inbox: dict[str, dict[int, str]] = attrs.field(factory=dict)
    queue: dict[str, dict[int, str]] = attrs.field(factory=dict)
    events: dict[str, list[Record]] = attrs.field(factory=dict)
    accounts: dict[str, _Account] = attrs.field(factory=dict)


class MemoryTables:
    """The tables, as a connection sees them. Statements take effect at once; `restore` undoes a transaction.

    Attributes:
        jobs: how many offers of each thread are on their way to a worker. `restore` leaves them alone.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.jobs: Counter[str] = Counter()
        self._all = _Tables()
        self._statements: dict[str, Callable[..., Iterable[Row]]] = {
            tables.SHARE: lambda: (),
            tables.HOLDER: lambda: [Row(host=CLUSTER, api=None)],
            tables.REGISTER: self._register,
            tables.RENEW: self._renew,
            tables.BURY: self._bury,
            tables.UNREGISTER: lambda worker: self._none(self._all.workers.pop(worker, None)),
            tables.INTRODUCE_THREAD: self._introduce_thread,
            tables.INTRODUCE_OWNER: lambda thread: self._none(self._all.owners.setdefault(thread, _Owner())),
            tables.LOCK: self._lock,
            tables.LOCK_IF_FREE: self._lock,
            tables.CLAIM: self._claim,
            tables.RELEASE: self._release,
            tables.IS_COMMITTED: self._is_committed,
            tables.ORPHANS: self._orphans,
            tables.OFFERED: self._offered,
            tables.ACCEPT: self._accept,
            tables.COMMIT: self._commit,
            tables.SAVE_MARK: self._save_mark,
            tables.HAS_COMMANDS: lambda thread: [Row(has=bool(self._all.inbox.get(thread)))],
            tables.COMMANDS: self._commands,
            tables.VERSIONS: self._versions,
            tables.WITH_COMMANDS: self._with_commands,
            upgrades.OLDEST: lambda: [Row(oldest=upgrades.VERSION)],
            accounts.INTRODUCE: lambda name: self._none(self._all.accounts.setdefault(name, _Account())),
            accounts.TAKE_PROBE: self._take_probe,
            accounts.LIMITED: self._limited,
            accounts.OPENED: self._opened,
            accounts.DENIED: self._denied,
            accounts.LOOK: self._look,
        }

    def exec_driver_sql(self, statement: str, values: dict[str, Any] | None) -> _Result:
        """Run a statement."""
        return _Result(self._statements[statement](**(values or {})))

    def save(self) -> _Tables:
        """Return a copy of everything, for `restore`."""
        return copy.deepcopy(self._all)

    def restore(self, saved: _Tables) -> None:
        """Put a copy back."""
        self._all = saved

    @property
    def _now(self) -> float:
        # The wall clock of the database is right, whatever people do to the clocks of the processes.
        return self._clock.monotonic()

    def _none(self, _: object) -> Iterable[Row]:
        return ()

    # --- what the reader sees -----------------------------------------------------------------------------------

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        row = self._all.threads.get(thread_id)
        if row is None:
            return None
        queue = self._all.queue.get(thread_id, {})
        messages = [(number, codec.decode_message(queue[number])) for number in sorted(queue)]
        inbox = self._all.inbox.get(thread_id, {})
        return Saved(
            snapshot=codec.decode_snapshot(row.snapshot, Queue.of(messages)),
            due=row.due,
            inbox=tuple((number, codec.decode_command(inbox[number])) for number in sorted(inbox)),
            unannounced=tuple(self.history(thread_id, row.announced)),
            last_seq=row.last_seq,
        )

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """See `Store.history`."""
        return self._all.events.get(thread_id, [])[max(after, 0) :]

    def history_page(self, thread_id: str, *, after: int, limit: int, newest: bool = False) -> Sequence[Record]:
        """See `PagingStore.history_page`."""
        records = self.history(thread_id, after)
        return records[-limit:] if newest else records[:limit]

    def news(self, thread_id: str, *, after: int, limit: int) -> Saved | None:
        """See `FollowedStore.news`."""
        saved = self.load(thread_id)
        page = tuple(self.history_page(thread_id, after=after, limit=limit))
        return None if saved is None else attrs.evolve(saved, unannounced=page)

    def is_alive(self, worker: str) -> bool:
        """Return whether the others still count this worker as alive."""
        return worker in self._all.workers

    def owner_of(self, thread_id: str) -> str | None:
        """Return the live worker that owns a thread, or None."""
        owner = self._all.owners.get(thread_id)
        return owner.worker if owner is not None and owner.worker in self._all.workers else None

    # --- workers and owners -------------------------------------------------------------------------------------

    def _register(self, worker: str, lease: float, **_: object) -> Iterable[Row]:
        self._all.workers[worker] = self._now + lease
        return ()

    def _renew(self, worker: str, lease: float) -> Iterable[Row]:
        if worker not in self._all.workers:
            return ()
        self._all.workers[worker] = self._now + lease
        return [Row(id=worker)]

    def _bury(self) -> Iterable[Row]:
        self._all.workers = {name: until for name, until in self._all.workers.items() if until >= self._now}
        return ()

    def _lock(self, thread: str) -> Iterable[Row]:
        owner = self._all.owners.get(thread)
        return () if owner is None else [Row(worker=owner.worker, epoch=owner.epoch)]

    def _claim(self, thread: str, worker: str) -> Iterable[Row]:
        owner = self._all.owners.get(thread)
        if owner is None or owner.worker in self._all.workers or worker not in self._all.workers:
            return ()
        owner.worker, owner.commits, owner.offered_at = worker, 0, _NEVER
        owner.epoch += 1
        return [Row(epoch=owner.epoch)]

    def _release(self, thread: str, offer: bool) -> Iterable[Row]:
        owner = self._all.owners[thread]
        owner.worker, owner.offered_at = None, self._now if offer else _NEVER
        return ()

    def _is_committed(self, thread: str, worker: str, epoch: int, commit: int) -> Iterable[Row]:
        owner = self._all.owners.get(thread)
        if owner is None or (owner.worker, owner.epoch) != (worker, epoch):
            return ()
        return [Row(committed=owner.commits >= commit)]

    def _orphans(self, patience: float, most: int) -> Iterable[Row]:
        found = [
            (owner.offered_at, thread_id)
            for thread_id, owner in self._all.owners.items()
            if (self._all.threads[thread_id].unfinished or self._all.inbox.get(thread_id))
            and owner.worker not in self._all.workers
            and owner.offered_at < self._now - patience
        ]
        return [Row(thread_id=thread_id) for _, thread_id in sorted(found)[:most]]

    def _offered(self, threads: Sequence[str]) -> Iterable[Row]:
        for thread_id in threads:
            self._all.owners[thread_id].offered_at = self._now
        return ()

    def _versions(self, threads: Sequence[str]) -> Iterable[Row]:
        known = [(thread_id, self._all.owners[thread_id]) for thread_id in threads if thread_id in self._all.owners]
        return [Row(thread_id=name, epoch=o.epoch, commits=o.commits, accepted=o.accepted) for name, o in known]

    def _with_commands(self, worker: str) -> Iterable[Row]:
        owned = (name for name, owner in self._all.owners.items() if owner.worker == worker)
        return [Row(thread_id=name) for name in owned if self._all.inbox.get(name)]

    # --- threads ------------------------------------------------------------------------------------------------

    def _introduce_thread(self, thread: str, settled: bool, snapshot: str) -> Iterable[Row]:
        self._all.threads.setdefault(thread, _Thread(snapshot, settled))
        return ()

    def _accept(self, thread: str, command: str) -> Iterable[Row]:
        owner = self._all.owners.get(thread)
        if owner is None:
            return ()
        owner.accepted += 1
        self._all.inbox.setdefault(thread, {})[owner.accepted] = command
        owned = owner.worker in self._all.workers
        offered = owner.offered_at > _NEVER
        return [Row(accepted=owner.accepted, worker=owner.worker, offered=offered, owned=owned)]

    def _commands(self, thread: str, after: int) -> Iterable[Row]:
        inbox = self._all.inbox.get(thread, {})
        return [Row(number=number, command=inbox[number]) for number in sorted(inbox) if number > after]

    def _commit(
        self,
        thread: str,
        worker: str,
        epoch: int,
        commit: int,
        consumed: int,
        removed: Sequence[int],
        **values: Any,  # noqa: ANN401 - SQL values
    ) -> Iterable[Row]:
        owner = self._all.owners.get(thread)
        if owner is None or (owner.worker, owner.epoch, owner.commits) != (worker, epoch, commit - 1):
            return ()
        owner.commits = commit
        inbox, queue = self._all.inbox.get(thread, {}), self._all.queue.setdefault(thread, {})
        self._all.inbox[thread] = {number: command for number, command in inbox.items() if number > consumed}
        for number in removed:
            queue.pop(number, None)
        queue.update(zip(values["numbers"], values["messages"], strict=True))
        return [Row(last_seq=self._save_thread(thread, **values))]

    def _save_thread(
        self,
        thread: str,
        settled: bool,
        due: float | None,
        snapshot: str,
        at: float,
        kinds: Sequence[str],
        bodies: Sequence[str],
        all_announced: bool,
        mark: int,
        **_: object,
    ) -> int:
        """Save the snapshot and the events of a commit. Return the number of the last record."""
        row, records = self._all.threads[thread], self._all.events.setdefault(thread, [])
        for number, (kind, body) in enumerate(zip(kinds, bodies, strict=True), row.last_seq + 1):
            records.append(Record(seq=number, at=at, event=codec.decode_event(kind, body)))
        row.settled, row.due, row.snapshot, row.last_seq = settled, due, snapshot, row.last_seq + len(kinds)
        row.announced = row.last_seq if all_announced else max(row.announced, mark)
        row.unfinished = not settled or row.announced < row.last_seq
        return row.last_seq

    def _save_mark(self, thread: str, mark: int) -> Iterable[Row]:
        row = self._all.threads[thread]
        row.announced = max(row.announced, mark)
        row.unfinished = not row.settled or row.announced < row.last_seq
        return ()

    # --- accounts -----------------------------------------------------------------------------------------------

    def _take_probe(self, name: str, seconds: float) -> Iterable[Row]:
        account = self._all.accounts[name]
        if account.probe_until > self._now:
            return ()
        account.probe_until = self._now + seconds
        return [Row(name=name)]

    def _limited(self, name: str, seconds: float, times: int) -> Iterable[Row]:
        account = self._all.accounts[name]
        account.limits, account.probe_until = max(account.limits, times), _NEVER
        account.limited_until = max(account.limited_until, self._now + seconds)
        return self._changed(account)

    def _opened(self, name: str) -> Iterable[Row]:
        account = self._all.accounts[name]
        account.limits, account.limited_until, account.probe_until = 0, _NEVER, _NEVER
        return self._changed(account)

    def _denied(self, name: str, denial: str | None) -> Iterable[Row]:
        self._all.accounts[name].denial = denial
        return self._changed(self._all.accounts[name])

    def _changed(self, account: _Account) -> Iterable[Row]:
        account.changes += 1
        return [Row(changes=account.changes)]

    def _look(self, name: str, known: int) -> Iterable[Row]:
        account = self._all.accounts[name]
        if account.changes == known:
            return ()
        seconds = max(account.limited_until - self._now, 0.0)
        return [Row(limits=account.limits, seconds=seconds, denial=account.denial, changes=account.changes)]
