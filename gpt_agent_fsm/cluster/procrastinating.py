"""Finds workers for threads by jobs of Procrastinate, a task queue on PostgreSQL.

One job means: own this thread until it rests. The job only waits, so it is a coroutine, and thousands of them can wait
in the event loop of one OS thread. No job has a lock, a queueing lock or a time in the future, because the row of the
thread decides who drives it, and because those features delay other jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import procrastinate
import psycopg
import sqlalchemy as sa
from procrastinate.schema import SchemaManager
from procrastinate.types import JSONValue
from psycopg_pool import AsyncConnectionPool

from gpt_agent_fsm.cluster.placing import Own
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.stores.postgresql import has_spoken

__all__ = ["ProcrastinatePlacer"]

log: Log = get_logger(__name__)

QUEUE = "gpt_agent_fsm"
TASK = "gpt_agent_fsm.own"
_HEARTBEAT = 2.0
_STALLED = 10.0
_POLL = 1.0
"""Seconds between two searches for jobs. Usually a notification comes at once, but not before the worker listens."""
_GRACE = 0.1
"""Seconds for which Procrastinate waits for jobs when it ends. A job is only a wait, so it may be cut off."""
_PAUSE = 1.0
_POOL_TIMEOUT = 5.0
"""Seconds for which Procrastinate waits for a connection. While the database does not answer, its end takes so long."""
_CLAIMERS = 8
_LONGEST_END = 10.0
"""Seconds for which `close` waits. Procrastinate waits for its last query, which a frozen server never answers."""

_WAITING = f"""
SELECT args ->> 'thread_id' FROM procrastinate_jobs
WHERE status = 'todo' AND queue_name = '{QUEUE}' AND args ->> 'thread_id' = ANY(%(threads)s)
"""  # noqa: S608 - our own names
# The jobs of a worker that no longer runs are deleted. Their threads are offered again, if they have work.
_CLEAN_UP = f"""
DELETE FROM procrastinate_jobs j WHERE j.status = 'doing' AND j.queue_name = '{QUEUE}' AND (j.worker_id IS NULL
OR NOT EXISTS (SELECT 1 FROM procrastinate_workers w WHERE w.id = j.worker_id
AND w.last_heartbeat > now() - {_STALLED} * interval '1 second'))
"""  # noqa: S608 - our own names


class ProcrastinatePlacer:
    """See `Placer`.

    Args:
        conninfo: the URL of the database for libpq, with limits for a network that drops packets.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=conninfo))

    def prepare(self, connection: sa.Connection) -> None:
        """See `Placer.prepare`."""
        if connection.exec_driver_sql("SELECT to_regclass('procrastinate_jobs')").scalar_one() is None:
            connection.exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"), {})

    def offer(self, connection: sa.Connection, thread_ids: Collection[str]) -> None:
        """See `Placer.offer`."""
        task = self._app.configure_task(TASK, queue=QUEUE, connection=connection.connection.driver_connection)
        jobs: list[dict[str, JSONValue]] = [{"thread_id": thread_id} for thread_id in thread_ids]
        task.batch_defer(*jobs)

    def waiting(self, connection: sa.Connection, thread_ids: Collection[str]) -> Collection[str]:
        """See `Placer.waiting`."""
        rows = connection.exec_driver_sql(_WAITING, {"threads": list(thread_ids)})
        return set(rows.scalars())

    def work(self, concurrency: int, own: Own) -> _Work:
        """See `Placer.work`."""
        return _Work(self._conninfo, concurrency, own)

    def clean_up(self, connection: sa.Connection) -> None:
        """See `Placer.clean_up`."""
        connection.exec_driver_sql(_CLEAN_UP)


def _note_failure(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Note an error of a task that nobody awaits, such as one that Procrastinate leaves behind after a cut."""
    log.debug("a part of the job queue has failed: %s", type(context.get("exception")).__name__)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    if has_spoken(connection):
        await AsyncConnectionPool.check_connection(connection)


def _make_pool(**options: Any) -> AsyncConnectionPool:  # noqa: ANN401 - as the pool takes them
    """Return a pool that waits for the database once for each job, instead of four times.

    In a busy worker, the event loop waits longer for its turn after each answer than for the answer. By default,
    Procrastinate asks whether the connection is there, begins a transaction, takes the job, and commits.
    """
    return AsyncConnectionPool(**options | {"check": _check, "configure": _configure})


class _Work:
    """The worker of Procrastinate, in the event loop of an OS thread of its own."""

    def __init__(self, conninfo: str, concurrency: int, own: Own) -> None:
        self._conninfo = conninfo
        self._concurrency = concurrency
        self._own = own
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note_failure)
        self._stopped = threading.Event()
        self._claimers = ThreadPoolExecutor(_CLAIMERS, thread_name_prefix="gpt-agent-fsm-claim")
        self._places = asyncio.Semaphore(concurrency)
        """One for each thread that this process may own. They outlive a session, as the threads do."""
        self._session: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="gpt-agent-fsm-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See `Placing.stop`."""
        if not self._stopped.is_set():
            self._stopped.set()
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                self._loop.call_soon_threadsafe(self._cancel_session)

    def close(self) -> None:
        """See `Placing.close`."""
        self.stop()
        self._thread.join(_LONGEST_END)
        self._claimers.shutdown(wait=False)

    def _cancel_session(self) -> None:
        if self._session is not None:
            self._session.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._work())
        finally:
            # A session that was cancelled while it opened its connections leaves tasks behind.
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.close()

    async def _work(self) -> None:
        """Take jobs until `stop`. If the database fails, begin again after a pause."""
        while not self._stopped.is_set():
            self._session = asyncio.ensure_future(self._take_jobs())
            try:
                await self._session
            except asyncio.CancelledError:
                if not self._stopped.is_set():
                    raise
            except Exception as error:  # noqa: BLE001 - threads that this worker owns continue
                log.warning("no threads are taken for a moment: %s", type(error).__name__)
            if not self._stopped.is_set():
                await asyncio.sleep(_PAUSE)

    async def _take_jobs(self) -> None:
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=self._conninfo,
                min_size=1,
                timeout=_POOL_TIMEOUT,
                pool_factory=_make_pool,
            )
        )
        app.task(name=TASK, queue=QUEUE)(self._own_until_it_rests)
        try:
            await app.open_async()
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=self._concurrency,
                delete_jobs="always",
                install_signal_handlers=False,
                shutdown_graceful_timeout=_GRACE,
                update_heartbeat_interval=_HEARTBEAT,
                stalled_worker_timeout=_STALLED,
                fetch_job_polling_interval=_POLL,
            )
        finally:
            # `async with` would leave the connections open if it is cancelled while they are opened.
            await app.close_async()

    async def _own_until_it_rests(self, thread_id: str) -> None:
        """Own a thread, and return when this process drives it no more.

        If all places are taken by threads of an earlier session, wait. Another worker may claim the thread before that.
        """
        await self._places.acquire()
        ended = asyncio.Event()

        def end() -> None:
            if not ended.is_set():
                ended.set()
                self._places.release()

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                self._loop.call_soon_threadsafe(end)

        def note_claim(claim: Future[bool]) -> None:
            if claim.cancelled() or claim.exception() is not None or not claim.result():
                done()

        claim = self._claimers.submit(self._own, thread_id, done)
        claim.add_done_callback(note_claim)
        if await asyncio.wrap_future(claim):
            await ended.wait()
