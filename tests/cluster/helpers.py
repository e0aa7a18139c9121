"""Helpers shared by the tests of clusters."""

from __future__ import annotations

import contextlib

import attrs
import psycopg
import sqlalchemy as sa

from gpt_agent_fsm.cluster import tables
from gpt_agent_fsm.cluster.leases import Leases
from gpt_agent_fsm.cluster.procrastinating import ProcrastinatePlacer
from gpt_agent_fsm.cluster.writing import Accepting, OwnedStore
from gpt_agent_fsm.testing import VirtualClock
from tests.stores.helpers import idle

PATIENCE = 60


def query(url, statement, *values):
    """Run a statement past the library, and return its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement, values)
        return done.fetchall() if done.description else None


def offered(url):
    """Return the threads for which a worker was asked, and no worker has come yet."""
    return [row[0] for row in query(url, "SELECT args->>'thread_id' FROM procrastinate_jobs ORDER BY id")]


def expire(url, worker_id):
    """Let the database think that the heartbeats of a worker have not come in time."""
    query(url, "UPDATE gpt_agent_workers SET alive_until = now() - interval '1 second' WHERE id = %s", worker_id)


@attrs.frozen
class _News:
    """What a worker tells others: the process keeps it. No handle follows its threads."""

    process: Process

    def tell(self, thread_id):
        self.process.told.append(thread_id)

    def relay(self, delta):
        self.process.relayed.append(delta)

    def is_followed(self, thread_id, seq):
        return False

    def drivers_ended(self):
        self.process.ended = True


class Process:
    """What one process of a cluster has, without a runtime: a placer, leases in virtual time, and both stores.

    Attributes:
        told: the ids of the threads of which other processes would be told.
    """

    def __init__(self, database, url):
        self.database, self.url = database, url
        self.clock, self.told, self.woken, self.relayed = VirtualClock(), [], [], []
        self.placer, self.ended = ProcrastinatePlacer(url), False
        with database.transaction() as connection:
            tables.lock(connection)
            self.placer.prepare(connection)
        self.leases = Leases(database, self.clock, 100, self.woken.append, self.placer)
        self.accepting = Accepting(database, self.placer.offer, self.told.append)
        self.store = OwnedStore(database, self.leases.of, self.accepting.accept, _News(self))

    def make_thread(self, thread_id="thread_1", **changes):
        self.accepting.introduce(idle(thread_id, **changes))
        return thread_id

    def lapse(self):
        """Let the time of this worker end, and let another one notice it."""
        expire(self.url, self.leases.worker_id)
        self.clock.now += 100.0
        query(self.url, tables.BURY)


class Fails:
    """Makes transactions of a database fail.

    Attributes:
        before: how many of the next commits fail and do not take effect.
        after: how many of the next commits take effect, but their answer is lost.
    """

    def __init__(self, database):
        self.before = self.after = 0
        self._engine = database._database.writing
        database._database = attrs.evolve(database._database, writing=self)

    def __getattr__(self, name):
        return getattr(self._engine, name)

    @contextlib.contextmanager
    def connect(self):
        with self._engine.connect() as connection:
            yield _Faulty(connection, self)


def lost_connection():
    return sa.exc.OperationalError("COMMIT", None, psycopg.OperationalError("server closed the connection"))


@attrs.frozen
class _Faulty:
    real: object
    fails: Fails

    def __getattr__(self, name):
        return getattr(self.real, name)

    def commit(self):
        if self.fails.before > 0:
            self.fails.before -= 1
            raise lost_connection()
        self.real.commit()
        if self.fails.after > 0:
            self.fails.after -= 1
            raise lost_connection()
