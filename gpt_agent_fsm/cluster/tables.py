"""The tables of a cluster, and their statements.

The threads themselves are in the tables of `SQLStore`. These tables say which process drives which thread. A thread's
owner is in a row of its own, because this row changes far more often than the snapshot, and is much smaller.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from gpt_agent_fsm.cluster import upgrades
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.stores import migrations, schema
from gpt_agent_fsm.stores.holder import CLUSTER, Holder

__all__ = ["agree", "check_held", "join", "lock", "run"]

_TABLES = """
CREATE TABLE IF NOT EXISTS gpt_agent_cluster (
    id bigint PRIMARY KEY,
    version bigint NOT NULL,
    name text NOT NULL,
    oldest bigint NOT NULL DEFAULT 1,
    api text
);
CREATE TABLE IF NOT EXISTS gpt_agent_workers (
    id text PRIMARY KEY,
    host text NOT NULL,
    pid bigint NOT NULL,
    since double precision NOT NULL,
    concurrency bigint NOT NULL,
    alive_until timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS gpt_agent_owners (
    thread_id text PRIMARY KEY,
    accepted bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    commits bigint NOT NULL DEFAULT 0,
    worker text,
    offered_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS gpt_agent_owners_worker ON gpt_agent_owners (worker) WHERE worker IS NOT NULL;
CREATE TABLE IF NOT EXISTS gpt_agent_accounts (
    name text PRIMARY KEY,
    next_request timestamptz NOT NULL DEFAULT '-infinity',
    limits bigint NOT NULL DEFAULT 0,
    limited_until timestamptz NOT NULL DEFAULT '-infinity',
    probe_until timestamptz NOT NULL DEFAULT '-infinity',
    denial text,
    changes bigint NOT NULL DEFAULT 0
);
"""

_NAME_CLUSTER = """
INSERT INTO gpt_agent_cluster (id, version, name, oldest) VALUES (1, %(version)s, %(name)s, %(version)s)
ON CONFLICT (id) DO NOTHING
"""
# The cluster begins where the last single owner has stopped.
_ADOPT_THREADS = """
INSERT INTO gpt_agent_owners (thread_id, accepted)
SELECT t.thread_id, GREATEST(t.accepted, (SELECT max(i.number) FROM gpt_agent_inbox i WHERE i.thread_id = t.thread_id))
FROM gpt_agent_threads t
ON CONFLICT (thread_id) DO NOTHING
"""

# Whoever takes the database over changes this row, and waits until this transaction ends.
SHARE = "SELECT 1 FROM gpt_agent_meta FOR SHARE"
HOLDER = """
SELECT h.host, c.api FROM gpt_agent_cluster c, gpt_agent_holder h JOIN gpt_agent_meta m ON m.epoch = h.epoch
WHERE h.holds
"""

# A wrong first process can be corrected while there is nothing that it could harm.
SET_API = """
UPDATE gpt_agent_cluster SET api = %(api)s WHERE api IS NULL
OR NOT EXISTS (SELECT 1 FROM gpt_agent_threads) AND NOT EXISTS (SELECT 1 FROM gpt_agent_workers)
"""

# --- workers -----------------------------------------------------------------------------------------------

REGISTER = """
INSERT INTO gpt_agent_workers (id, host, pid, since, concurrency, alive_until, version)
VALUES (%(worker)s, %(host)s, %(pid)s, %(since)s, %(concurrency)s, now() + %(lease)s * interval '1 second', %(version)s)
"""
# A worker that is late is removed by the others. From then on, this statement changes nothing.
RENEW = """
UPDATE gpt_agent_workers SET alive_until = now() + %(lease)s * interval '1 second' WHERE id = %(worker)s RETURNING id
"""
# A worker whose row is locked is left alone. It may be renewing it, and a search must not wait for it.
BURY = """
DELETE FROM gpt_agent_workers
WHERE id IN (SELECT id FROM gpt_agent_workers WHERE alive_until < now() FOR UPDATE SKIP LOCKED)
"""
UNREGISTER = "DELETE FROM gpt_agent_workers WHERE id = %(worker)s"

# --- owners -------------------------------------------------------------------------------------------------

INTRODUCE_THREAD = """
INSERT INTO gpt_agent_threads (thread_id, settled, unfinished, due, accepted, last_seq, announced, snapshot)
VALUES (%(thread)s, %(settled)s, false, NULL, 0, 0, 0, %(snapshot)s) ON CONFLICT (thread_id) DO NOTHING
"""
INTRODUCE_OWNER = "INSERT INTO gpt_agent_owners (thread_id, accepted) VALUES (%(thread)s, 0) ON CONFLICT DO NOTHING"
LOCK = "SELECT worker, epoch FROM gpt_agent_owners WHERE thread_id = %(thread)s FOR UPDATE"
LOCK_IF_FREE = f"{LOCK} NOWAIT"
# The thread was locked by a statement before this one, which therefore sees every worker that may own it. A worker that
# was removed claims nothing until it has a new name.
CLAIM = """
UPDATE gpt_agent_owners SET worker = %(worker)s, epoch = epoch + 1, commits = 0, offered_at = NULL
WHERE thread_id = %(thread)s AND NOT EXISTS (SELECT 1 FROM gpt_agent_workers w WHERE w.id = gpt_agent_owners.worker)
AND EXISTS (SELECT 1 FROM gpt_agent_workers w WHERE w.id = %(worker)s)
RETURNING epoch
"""
RELEASE = """
UPDATE gpt_agent_owners SET worker = NULL, offered_at = CASE WHEN %(offer)s THEN now() END
WHERE thread_id = %(thread)s
"""
IS_COMMITTED = """
SELECT commits >= %(commit)s FROM gpt_agent_owners
WHERE thread_id = %(thread)s AND worker = %(worker)s AND epoch = %(epoch)s
"""
# The threads with work come from two indexes. Most threads have none, and are not read.
ORPHANS = """
SELECT o.thread_id FROM gpt_agent_owners o
WHERE o.thread_id IN (SELECT thread_id FROM gpt_agent_threads WHERE unfinished UNION
SELECT thread_id FROM gpt_agent_inbox)
AND (o.worker IS NULL OR NOT EXISTS (SELECT 1 FROM gpt_agent_workers w WHERE w.id = o.worker))
AND (o.offered_at IS NULL OR o.offered_at < now() - %(patience)s * interval '1 second')
ORDER BY o.offered_at NULLS FIRST LIMIT %(most)s FOR UPDATE OF o SKIP LOCKED
"""
OFFERED = "UPDATE gpt_agent_owners SET offered_at = now() WHERE thread_id = ANY(%(threads)s)"

# --- a thread -----------------------------------------------------------------------------------------------

ACCEPT = """
WITH owner AS (
    UPDATE gpt_agent_owners SET accepted = accepted + 1 WHERE thread_id = %(thread)s
    RETURNING thread_id, accepted, worker, offered_at
), added AS (
    INSERT INTO gpt_agent_inbox (thread_id, number, command) SELECT thread_id, accepted, %(command)s FROM owner
)
SELECT accepted, worker, offered_at IS NOT NULL AS offered,
EXISTS (SELECT 1 FROM gpt_agent_workers w WHERE w.id = worker) AS owned FROM owner
"""
# The whole commit of an owner is one statement, because most of the time of a statement is spent on its way. Every part
# depends on the fence: only the current owner's next commit finds the row.
COMMIT = """
WITH fence AS (
    UPDATE gpt_agent_owners SET commits = %(commit)s
    WHERE thread_id = %(thread)s AND worker = %(worker)s AND epoch = %(epoch)s AND commits = %(commit)s - 1
    RETURNING thread_id
), saved AS (
    UPDATE gpt_agent_threads t SET settled = %(settled)s, due = %(due)s, snapshot = %(snapshot)s,
    accepted = GREATEST(accepted, %(consumed)s), last_seq = last_seq + %(events)s,
    announced = CASE WHEN %(all_announced)s THEN last_seq + %(events)s ELSE GREATEST(announced, %(mark)s) END,
    unfinished = NOT %(settled)s OR (NOT %(all_announced)s AND GREATEST(announced, %(mark)s) < last_seq + %(events)s)
    FROM fence WHERE t.thread_id = fence.thread_id RETURNING t.thread_id, t.last_seq
), added AS (
    INSERT INTO gpt_agent_events (thread_id, seq, at, kind, body)
    SELECT s.thread_id, s.last_seq - %(events)s + e.number, %(at)s, e.kind, e.body
    FROM saved s, unnest(%(kinds)s::text[], %(bodies)s::text[]) WITH ORDINALITY AS e (kind, body, number)
), dropped AS (
    DELETE FROM gpt_agent_inbox i USING fence WHERE i.thread_id = fence.thread_id AND i.number <= %(consumed)s
), removed AS (
    DELETE FROM gpt_agent_queue q USING fence
    WHERE q.thread_id = fence.thread_id AND q.number = ANY(%(removed)s::bigint[])
), written AS (
    INSERT INTO gpt_agent_queue (thread_id, number, message)
    SELECT f.thread_id, m.number, m.message
    FROM fence f, unnest(%(numbers)s::bigint[], %(messages)s::text[]) AS m (number, message)
    ON CONFLICT (thread_id, number) DO UPDATE SET message = excluded.message
)
SELECT last_seq FROM saved
"""
SAVE_MARK = """
UPDATE gpt_agent_threads SET announced = GREATEST(announced, %(mark)s),
unfinished = NOT settled OR GREATEST(announced, %(mark)s) < last_seq WHERE thread_id = %(thread)s
"""
HAS_COMMANDS = "SELECT EXISTS (SELECT 1 FROM gpt_agent_inbox WHERE thread_id = %(thread)s)"
COMMANDS = """
SELECT number, command FROM gpt_agent_inbox WHERE thread_id = %(thread)s AND number > %(after)s ORDER BY number
"""
# A handle reads its thread after each commit of the owner, and a worker when it has claimed it. One statement reads one
# state, without a transaction. Without a number, the records are those that were not announced.
READ = """
SELECT t.thread_id, t.snapshot, t.due, t.last_seq,
(SELECT coalesce(json_agg(json_build_object('number', q.number, 'message', q.message) ORDER BY q.number), '[]')
FROM gpt_agent_queue q WHERE q.thread_id = t.thread_id) AS queue,
(SELECT coalesce(json_agg(json_build_object('number', i.number, 'command', i.command) ORDER BY i.number), '[]')
FROM gpt_agent_inbox i WHERE i.thread_id = t.thread_id) AS inbox,
(SELECT coalesce(json_agg(json_build_object('seq', e.seq, 'at', e.at, 'kind', e.kind, 'body', e.body)
ORDER BY e.seq), '[]')
FROM (SELECT seq, at, kind, body FROM gpt_agent_events
WHERE thread_id = t.thread_id AND seq > COALESCE(%(after)s::bigint, t.announced)
ORDER BY seq LIMIT %(most)s::bigint) AS e) AS records
FROM gpt_agent_threads t WHERE t.thread_id = %(thread)s
"""
VERSIONS = "SELECT thread_id, epoch, commits, accepted FROM gpt_agent_owners WHERE thread_id = ANY(%(threads)s)"
WITH_COMMANDS = """
SELECT DISTINCT o.thread_id FROM gpt_agent_owners o JOIN gpt_agent_inbox i ON i.thread_id = o.thread_id
WHERE o.worker = %(worker)s
"""
SNAPSHOT_OF_ALL = "SELECT pg_current_snapshot()::text"
CLAIM_KEY = """
INSERT INTO gpt_agent_keys (key, thread_id) VALUES (%(key)s, %(thread)s) ON CONFLICT (key) DO NOTHING
"""


def run(connection: sa.Connection, statement: str, **values: Any) -> sa.CursorResult[Any]:  # noqa: ANN401 - SQL values
    """Run a statement of this module with these values."""
    return connection.exec_driver_sql(statement, values or None)


def lock(connection: sa.Connection) -> None:
    """Let no other process make tables until this transaction ends."""
    schema.lock_tables(connection)


def check_held(connection: sa.Connection, api: str | None) -> None:
    """Check that the cluster has the database and this API, and let nobody change that until this transaction ends.

    Call this before a row is added that lets a process drive a thread. Raises `StoreTaken` if a `SQLStore` has taken
    the database over, or if the cluster has another API. None is the API of a process that does not know it.
    """
    run(connection, SHARE)
    # Only a second statement sees who has the database after the first one has waited.
    theirs = _api(connection)
    if api is not None and theirs not in (None, api):
        raise StoreTaken(_other_api(theirs, api))


def agree(connection: sa.Connection, api: str) -> None:
    """Note the API of all threads of the cluster.

    Raises `StoreError` if they have another one, and `StoreTaken` if a `SQLStore` has taken the database over.
    """
    if _api(connection) == api:
        return
    run(connection, "SELECT 1 FROM gpt_agent_meta FOR UPDATE")  # those that have called `check_held` end first
    run(connection, BURY)
    theirs = _api(connection)
    if theirs != api and not run(connection, SET_API, api=api).rowcount:
        raise StoreError(_other_api(theirs, api))


def _api(connection: sa.Connection) -> str | None:
    """Return the API of the cluster, or None if it is not known. Raises `StoreTaken` if a `SQLStore` has it."""
    held = run(connection, HOLDER).one_or_none()
    if held is None or held.host != CLUSTER:
        raise StoreTaken("A SQLStore has the database of this cluster now; close it, and start all processes again.")
    return held.api  # type: ignore[no-any-return]


def _other_api(theirs: str | None, ours: str) -> str:
    return (
        f"The threads of this cluster are on the {theirs} API, and this process has the {ours} API. Start it with the "
        f"{theirs} API, or give it another database."
    )


def join(connection: sa.Connection) -> str:
    """Make this database the database of a cluster, unless it is one already. Create and migrate the tables.

    Returns the name of the cluster. Each database, and each schema in a database, has another one.

    If a `SQLStore` has the database, it loses it. If a newer version of the library made the tables, they stay as they
    are. Raises `StoreError` if this version is too old for them.
    """
    schema.lock_tables(connection)
    if not upgrades.made_by_newer(connection):
        _make(connection)
    run(connection, "SELECT 1 FROM gpt_agent_meta FOR UPDATE")
    holder, holds = schema.last_holder(connection) or (None, False)
    if holder is None or not holds or holder.host != CLUSTER:
        schema.take_over(connection, Holder(host=CLUSTER, pid=0, since=Holder.here().since))
        run(connection, _ADOPT_THREADS)
        run(connection, "UPDATE gpt_agent_cluster SET api = NULL")  # the threads may be others
    return str(run(connection, "SELECT name FROM gpt_agent_cluster").scalar_one())


def _make(connection: sa.Connection) -> None:
    schema.create(connection)
    migrations.bring_up_to_date(connection)
    # A statement that makes an index waits for all writers even if the index is there, and the writers wait behind it.
    if not sa.inspect(connection).has_table("gpt_agent_accounts"):
        for statement in filter(str.strip, _TABLES.split(";")):
            run(connection, statement)
        run(connection, _NAME_CLUSTER, version=upgrades.VERSION, name=uuid.uuid4().hex)
    upgrades.add(connection)
