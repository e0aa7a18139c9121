"""The tables of a store, the SQL statements for these tables, and the preparation of a database.

The names of the tables have a prefix, so that other tables can be in the same database.
"""

from __future__ import annotations

import attrs
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.holder import CLUSTER, Holder

__all__ = [
    "SCHEMA_VERSION",
    "ADD_COMMANDS",
    "ADD_EVENTS",
    "CLAIM_KEYS",
    "COUNTERS",
    "DROP_COMMANDS",
    "EPOCH",
    "FORGET",
    "FIRST_RECORDS",
    "HISTORY",
    "INBOX",
    "KEY",
    "LAST_GROUP",
    "LET_GO",
    "LIST_COMMANDS",
    "LIST_MARKS",
    "LIST_QUEUES",
    "LIST_THREADS",
    "MARK",
    "NEWEST_RECORDS",
    "NEXT_GROUP",
    "OLD_RECORDS",
    "QUEUE",
    "REMOVE_MESSAGES",
    "SAVE_MARKS",
    "SAVE_MESSAGES",
    "SAVE_THREADS",
    "THREAD",
    "UNFINISHED_INBOX",
    "UNFINISHED_QUEUES",
    "UNFINISHED_RECORDS",
    "UNFINISHED_THREADS",
    "WITHDRAW_COMMANDS",
    "check",
    "create",
    "current_holder",
    "has_keys",
    "is_older",
    "last_holder",
    "lock_tables",
    "prefer_log",
    "take_over",
    "usage_of",
]

SCHEMA_VERSION = 2
"""The version of the tables. It is increased if an older library must not use the new tables."""

metadata: sa.MetaData = sa.MetaData()


def _key(name: str, kind: type[sa.Text | sa.BigInteger]) -> sa.Column[object]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


meta: sa.Table = sa.Table(
    "gpt_agent_meta",
    metadata,
    # This table has only one row.
    _key("id", sa.BigInteger),
    sa.Column("version", sa.BigInteger, nullable=False),
    # The number of times that a store was opened for writing. The store that was opened last owns the database.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    # The number of transactions. It shows whether a transaction in doubt took effect.
    sa.Column("groups", sa.BigInteger, nullable=False),
)
# The process that owns the database, in one row. Older libraries do not write this table, so the epoch in it shows
# whether the row is up to date.
holder: sa.Table = sa.Table(
    "gpt_agent_holder",
    metadata,
    _key("id", sa.BigInteger),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    # True until the process closes its store.
    sa.Column("holds", sa.Boolean, nullable=False),
)
threads: sa.Table = sa.Table(
    "gpt_agent_threads",
    metadata,
    _key("thread_id", sa.Text),
    sa.Column("settled", sa.Boolean, nullable=False),
    # True if the thread is not settled or has unannounced records. Waiting commands do not matter here, because they
    # are in the inbox.
    sa.Column("unfinished", sa.Boolean, nullable=False),
    sa.Column("due", sa.Double),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("announced", sa.BigInteger, nullable=False),
    sa.Column("snapshot", sa.Text, nullable=False),
)
# The column's name alone is valid in both databases, and SQLite's planner recognises it as the condition of the index.
_is_unfinished = sa.text("unfinished")
sa.Index(
    "gpt_agent_threads_unfinished",
    threads.c.thread_id,
    sqlite_where=_is_unfinished,
    postgresql_where=_is_unfinished,
)
# Messages that are not posted yet, by number. They have a table of their own, so a commit does not rewrite a long
# queue. In SQLite, the rows of this table and of the next ones are stored in the index of their key. So one page is
# written per new row, not two. The table of the threads differs, because SQLite moves rows of more than 1,000 bytes out
# of such an index, and each change of a snapshot would write four more pages.
queue: sa.Table = sa.Table(
    "gpt_agent_queue",
    metadata,
    _key("thread_id", sa.Text),
    _key("number", sa.BigInteger),
    sa.Column("message", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
inbox: sa.Table = sa.Table(
    "gpt_agent_inbox",
    metadata,
    _key("thread_id", sa.Text),
    _key("number", sa.BigInteger),
    sa.Column("command", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
events: sa.Table = sa.Table(
    "gpt_agent_events",
    metadata,
    _key("thread_id", sa.Text),
    _key("seq", sa.BigInteger),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

# The keys that an application gives to its threads. Older libraries do not use this table and do not damage it.
keys: sa.Table = sa.Table(
    "gpt_agent_keys",
    metadata,
    _key("key", sa.Text),
    sa.Column("thread_id", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

# --- statements, built only once, because building a statement takes longer than running it ----------------

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "runs", "cached_tokens", "reasoning_tokens")
_of_thread: sa.BindParameter[str] = sa.bindparam("of_thread")
_thread_ids: sa.BindParameter[str] = sa.bindparam("thread_ids", expanding=True)

NEXT_GROUP = (
    meta.update()
    .where(meta.c.id == 1, meta.c.epoch == sa.bindparam("our_epoch"))
    .values(groups=meta.c.groups + 1)
    .returning(meta.c.groups)
)
# On PostgreSQL, this statement waits until an open transaction ends. SQLite allows only one writer at a time anyway.
LAST_GROUP = sa.select(meta.c.epoch, meta.c.groups).where(meta.c.id == 1).with_for_update()
LET_GO = holder.update().where(holder.c.epoch == sa.bindparam("our_epoch")).values(holds=False)
_SAVE_HOLDER = sa.text(
    "INSERT INTO gpt_agent_holder (id, epoch, host, pid, since, holds)"
    " VALUES (1, :epoch, :host, :pid, :since, :holds)"
    " ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, host = excluded.host, pid = excluded.pid,"
    " since = excluded.since, holds = excluded.holds"
)
_HOLDER = sa.select(holder).join_from(holder, meta, holder.c.epoch == meta.c.epoch)
_HAS_WORKERS = sa.text("SELECT EXISTS (SELECT 1 FROM gpt_agent_workers WHERE alive_until >= now())")
EPOCH = sa.select(meta.c.epoch).where(meta.c.id == 1)

_waiting = sa.select(inbox.c.thread_id, sa.func.max(inbox.c.number).label("number")).group_by(inbox.c.thread_id)
_last_waiting = _waiting.where(inbox.c.thread_id.in_(_thread_ids)).subquery()
COUNTERS = (
    sa.select(
        threads.c.thread_id,
        threads.c.settled,
        threads.c.accepted,
        threads.c.last_seq,
        threads.c.announced,
        _last_waiting.c.number.label("waiting"),
    )
    .outerjoin(_last_waiting, _last_waiting.c.thread_id == threads.c.thread_id)
    .where(threads.c.thread_id.in_(_thread_ids))
)

# SQLite and PostgreSQL have the same syntax for this, but SQLAlchemy has a different construct for each.
SAVE_THREADS = sa.text(
    "INSERT INTO gpt_agent_threads"
    " (thread_id, settled, unfinished, due, accepted, last_seq, announced, snapshot)"
    " VALUES (:thread_id, :settled, :unfinished, :due, :accepted, :last_seq, :announced, :snapshot)"
    " ON CONFLICT (thread_id) DO UPDATE SET settled = excluded.settled, unfinished = excluded.unfinished,"
    " due = excluded.due, accepted = excluded.accepted, last_seq = excluded.last_seq,"
    " announced = excluded.announced, snapshot = excluded.snapshot"
)
SAVE_MARKS = (
    threads.update()
    .where(threads.c.thread_id == _of_thread)
    .values(announced=sa.bindparam("mark"), unfinished=sa.bindparam("is_unfinished"))
)
SAVE_MESSAGES = sa.text(
    "INSERT INTO gpt_agent_queue (thread_id, number, message) VALUES (:thread_id, :number, :message)"
    " ON CONFLICT (thread_id, number) DO UPDATE SET message = excluded.message"
)
REMOVE_MESSAGES = queue.delete().where(queue.c.thread_id == _of_thread, queue.c.number == sa.bindparam("at"))
ADD_COMMANDS = inbox.insert()
WITHDRAW_COMMANDS = inbox.delete().where(inbox.c.thread_id == _of_thread, inbox.c.number == sa.bindparam("at"))
DROP_COMMANDS = inbox.delete().where(inbox.c.thread_id == _of_thread, inbox.c.number <= sa.bindparam("consumed"))
ADD_EVENTS = events.insert()
CLAIM_KEYS = sa.text(
    "INSERT INTO gpt_agent_keys (key, thread_id) VALUES (:key, :thread_id) ON CONFLICT (key) DO NOTHING"
)
KEY = sa.select(keys.c.thread_id).where(keys.c.key == sa.bindparam("of_key"))

_NUMBERS = (threads.c.accepted, threads.c.last_seq, threads.c.announced)
_SAVED = (threads.c.thread_id, threads.c.due, *_NUMBERS, threads.c.snapshot)
_RECORD = (events.c.seq, events.c.at, events.c.kind, events.c.body)
_COMMAND = (inbox.c.number, inbox.c.command)
THREAD = sa.select(*_SAVED).where(threads.c.thread_id == _of_thread)
_MESSAGE = (queue.c.number, queue.c.message)
QUEUE = sa.select(*_MESSAGE).where(queue.c.thread_id == _of_thread).order_by(queue.c.number)
INBOX = sa.select(*_COMMAND).where(inbox.c.thread_id == _of_thread).order_by(inbox.c.number)
_records_after = sa.select(*_RECORD).where(events.c.thread_id == _of_thread, events.c.seq > sa.bindparam("after"))
HISTORY = _records_after.order_by(events.c.seq)
FIRST_RECORDS = HISTORY.limit(sa.bindparam("limit", type_=sa.Integer))
NEWEST_RECORDS = _records_after.order_by(events.c.seq.desc()).limit(sa.bindparam("limit", type_=sa.Integer))

UNFINISHED_THREADS = sa.union_all(
    sa.select(*_SAVED).where(_is_unfinished),
    sa.select(*_SAVED).where(
        threads.c.unfinished.is_(sa.false()), threads.c.thread_id.in_(sa.select(inbox.c.thread_id))
    ),
)
# CROSS JOIN prevents SQLite from scanning all messages.
UNFINISHED_QUEUES = sa.text(
    "SELECT q.thread_id, q.number, q.message FROM gpt_agent_threads AS t CROSS JOIN gpt_agent_queue AS q"
    " WHERE t.unfinished AND q.thread_id = t.thread_id"
    " UNION ALL SELECT q.thread_id, q.number, q.message FROM (SELECT DISTINCT thread_id FROM gpt_agent_inbox) AS w"
    " CROSS JOIN gpt_agent_threads AS t CROSS JOIN gpt_agent_queue AS q"
    " WHERE t.thread_id = w.thread_id AND NOT t.unfinished AND q.thread_id = w.thread_id"
    " ORDER BY 1, 2"
)
UNFINISHED_INBOX = sa.select(inbox.c.thread_id, *_COMMAND).order_by(inbox.c.thread_id, inbox.c.number)
# CROSS JOIN prevents SQLite from scanning all events.
UNFINISHED_RECORDS = sa.text(
    "SELECT e.thread_id, e.seq, e.at, e.kind, e.body FROM gpt_agent_threads AS t CROSS JOIN gpt_agent_events AS e"
    " WHERE t.unfinished AND e.thread_id = t.thread_id AND e.seq > t.announced ORDER BY e.thread_id, e.seq"
)

LIST_THREADS = (
    sa.select(threads.c.thread_id, threads.c.snapshot, events.c.kind, events.c.at)
    .outerjoin(events, sa.and_(events.c.thread_id == threads.c.thread_id, events.c.seq == threads.c.last_seq))
    .order_by(threads.c.thread_id)
)
# Within a text, JSON escapes the quotes, so this pattern finds only the field. A message may have megabytes of data, so
# it is not decoded for a list.
_in_doubt = sa.func.max(sa.case((queue.c.message.like('%"doubt":%'), 1), else_=0))
LIST_QUEUES = sa.select(queue.c.thread_id, sa.func.count().label("messages"), _in_doubt.label("in_doubt")).group_by(
    queue.c.thread_id
)

MARK = sa.select(meta.c.epoch, meta.c.groups).where(meta.c.id == 1)
LIST_MARKS = sa.select(threads.c.thread_id, threads.c.last_seq, threads.c.accepted)
LIST_COMMANDS = sa.select(inbox.c.thread_id, sa.func.count().label("commands")).group_by(inbox.c.thread_id)

# The codec leaves these fields out of a snapshot if nothing waits. The quotes in a text are escaped, as above.
_owes_nothing = sa.and_(
    threads.c.thread_id.not_in(sa.select(queue.c.thread_id)),
    threads.c.snapshot.not_like('%"owed":%'),
    threads.c.snapshot.not_like('%"reading":%'),
)
# For each thread at rest that has old records: the number of its first record that is kept.
_first_new = sa.func.min(sa.case((events.c.at > sa.bindparam("until"), events.c.seq)))
_first_kept = sa.func.coalesce(_first_new, threads.c.last_seq + 1)
OLD_RECORDS = (
    sa.select(threads.c.thread_id, _first_kept.label("first_kept"))
    .join_from(threads, events, events.c.thread_id == threads.c.thread_id)
    .where(
        threads.c.unfinished.is_(sa.false()), threads.c.thread_id.not_in(sa.select(inbox.c.thread_id)), _owes_nothing
    )
    .group_by(threads.c.thread_id, threads.c.last_seq)
    .having(_first_kept > sa.func.min(events.c.seq))
)
FORGET = events.delete().where(events.c.thread_id == _of_thread, events.c.seq < sa.bindparam("first_kept"))


def usage_of(dialect: str) -> sa.TextClause:
    """Return the statement that adds up the tokens of all threads, in this dialect of SQL."""
    read = {
        "sqlite": "CASE WHEN json_valid(snapshot) THEN json_extract(snapshot, '$.usage.{name}') END",
        "postgresql": "CAST(CAST(snapshot AS json) -> 'usage' ->> '{name}' AS bigint)",
    }[dialect]
    sums = ", ".join(f"SUM({read.format(name=name)}) AS {name}" for name in _COUNTS)
    return sa.text(f"SELECT {sums} FROM gpt_agent_threads")  # noqa: S608 - our own names


# --- preparing a database ---------------------------------------------------------------------------


def check(connection: sa.Connection) -> bool:
    """Return whether the tables exist. Change nothing.

    Raises `StoreError` if a newer version of the library created them.
    """
    if not sa.inspect(connection).has_table(meta.name):
        return False
    version = connection.execute(sa.select(meta.c.version)).scalar()
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"The tables in this database have schema version {version} and were created by a newer version of "
            "gpt-agent-fsm; upgrade gpt-agent-fsm."
        )
    return version is not None


def is_older(connection: sa.Connection) -> bool:
    """Return whether an older version of the library created the existing tables."""
    return bool(connection.execute(sa.select(meta.c.version)).scalar_one() < SCHEMA_VERSION)


def prefer_log(engine: sa.Engine) -> None:
    """Switch a SQLite file to write-ahead logging, so that readers do not wait for a writer. The mode is persistent."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def lock_tables(connection: sa.Connection) -> None:
    """Prevent other programs from creating or changing the tables until this transaction ends."""
    if connection.dialect.name == "postgresql":
        # Two clients that create the same table at the same time would conflict. The number of the lock is arbitrary.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x6770745F61676E74)))


def create(connection: sa.Connection) -> None:
    """Create the tables, unless another client has created them first."""
    lock_tables(connection)
    if not check(connection):
        metadata.create_all(connection)
        connection.execute(meta.insert().values(id=1, version=SCHEMA_VERSION, epoch=0, groups=0))


def take_over(connection: sa.Connection, by: Holder | None = None) -> int:
    """Make this store the owner of the database, and return its epoch.

    The epoch is a number that grows with each new owner. A store with an earlier epoch can no longer write, and neither
    can a cluster. `by` is recorded as the holder; by default, this process.
    """
    raised = meta.update().where(meta.c.id == 1).values(epoch=meta.c.epoch + 1).returning(meta.c.epoch)
    epoch = int(connection.execute(raised).scalar_one())
    for table in (holder, keys):
        table.create(connection, checkfirst=True)
    connection.execute(_SAVE_HOLDER, {"epoch": epoch, "holds": True, **attrs.asdict(by or Holder.here())})
    _dissolve_cluster(connection)
    return epoch


def _dissolve_cluster(connection: sa.Connection) -> None:
    """Take the threads from the processes of a cluster. Every write of a cluster needs a row of these tables."""
    if connection.dialect.name == "postgresql" and sa.inspect(connection).has_table("gpt_agent_owners"):
        connection.exec_driver_sql("LOCK TABLE gpt_agent_owners IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql("DELETE FROM gpt_agent_owners")
        connection.exec_driver_sql("DELETE FROM gpt_agent_workers")


def has_keys(connection: sa.Connection) -> bool:
    """Return whether the database has the table of thread keys.

    Older versions of the library do not create this table.
    """
    return bool(sa.inspect(connection).has_table(keys.name))


def last_holder(connection: sa.Connection) -> tuple[Holder, bool] | None:
    """Return the process that opened the database last, and whether it still holds the database.

    Return None if this process is unknown.
    """
    if not sa.inspect(connection).has_table(holder.name):
        return None
    row = connection.execute(_HOLDER).one_or_none()
    return None if row is None else (Holder(host=row.host, pid=row.pid, since=row.since), row.holds)


def current_holder(connection: sa.Connection) -> Holder | None:
    """Return the process that holds the database, or None if no process holds it or the process is unknown.

    A cluster holds the database while it has a live worker.
    """
    last = last_holder(connection)
    if last is None or not last[1] or (last[0].host == CLUSTER and not connection.execute(_HAS_WORKERS).scalar_one()):
        return None
    return last[0]
