"""Shows the workers of a cluster, and which of them drives which thread, to people who look at a store."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import sqlalchemy as sa

from gpt_agent_fsm.stores import schema
from gpt_agent_fsm.stores.holder import CLUSTER
from gpt_agent_fsm.stores.sql import SQLStore

__all__ = ["ClusterView", "Owner", "view_of"]

_OWNERS = """
SELECT o.thread_id, o.worker, o.epoch, w.id IS NOT NULL AND w.alive_until >= now() AS alive,
EXTRACT(EPOCH FROM w.alive_until - now()) AS seconds
FROM gpt_agent_owners o LEFT JOIN gpt_agent_workers w ON w.id = o.worker WHERE o.worker IS NOT NULL
"""
_WORKERS = "SELECT id FROM gpt_agent_workers WHERE alive_until >= now() ORDER BY id"


@attrs.frozen(kw_only=True)
class Owner:
    """The worker that drives a thread.

    Attributes:
        worker: the name of the worker.
        epoch: how many times the thread has been claimed.
        lease: the seconds until the lease ends, if it is not renewed; None if it has ended.
    """

    worker: str
    epoch: int
    lease: float | None


@attrs.frozen(kw_only=True)
class ClusterView:
    """What a cluster does at this moment.

    Attributes:
        owners: the owner of each thread that is driven, by the id of the thread.
        workers: the names of the live workers.
    """

    owners: Mapping[str, Owner]
    workers: tuple[str, ...]


def view_of(store: SQLStore) -> ClusterView | None:
    """Return what the cluster does that has this database. Return None if no cluster has it."""
    with store.reading() as connection:
        holder, holds = schema.last_holder(connection) or (None, False)
        if holder is None or not holds or holder.host != CLUSTER:
            return None
        owners = {
            row.thread_id: Owner(worker=row.worker, epoch=row.epoch, lease=float(row.seconds) if row.alive else None)
            for row in connection.execute(sa.text(_OWNERS))
        }
        workers = tuple(row.id for row in connection.execute(sa.text(_WORKERS)))
    return ClusterView(owners=owners, workers=workers)
