"""Forgets old events of the threads of a cluster, while its processes continue."""

from __future__ import annotations

import time
from datetime import timedelta

from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.engine.protocols.store import oldest_kept
from gpt_agent_fsm.stores import schema

__all__ = ["prune"]

_AT_ONCE = 500


def prune(database: ClusterDatabase, older_than: float | timedelta) -> int:
    """See `PrunableStore.prune`. Deletes the events of some threads in each transaction, so that nobody waits long.

    A thread that begins to work at this moment loses nothing that it needs, because all its old events were announced.
    """
    with database.reader.reading() as connection:
        found = connection.execute(schema.OLD_RECORDS, {"until": oldest_kept(older_than, time.time())}).all()
    forgotten = 0
    for start in range(0, len(found), _AT_ONCE):
        with database.transaction() as connection:
            for row in found[start : start + _AT_ONCE]:
                values = {"of_thread": row.thread_id, "first_kept": row.first_kept}
                forgotten += connection.execute(schema.FORGET, values).rowcount
    return forgotten
