"""Runs the functions of tools, and their approval rules, each on a separate OS thread."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.engine.waiters import Waiters
from gpt_agent_fsm.logs import Log, get_logger, must_propagate

__all__ = ["Job", "JobKey", "ToolJobs"]

log: Log = get_logger(__name__)

JobKey: TypeAlias = tuple[str, str, str, int]
"""The ids of the thread, the run and the call, and the attempt. The attempt is 0 for the approval rule of a tool."""


@attrs.define(eq=False)
class Job:
    """A function that runs, will run, or has ended.

    Attributes:
        work: the function that returns the result; called with `cancelled`.
        fallback: the result if `work` raises an error, or if no OS thread can be started for it.
        timeout: the seconds that `work` may take; None for no limit.
        cancelled: an event that is set when the result is no longer wanted.
        deadline: when the time of `work` is over, in monotonic seconds; None before `work` has begun, or if it has no
            timeout.
        result: the value that `work` returned, or `fallback`; None before the job has ended.
    """

    key: JobKey
    work: Callable[[threading.Event], Any]
    fallback: Any
    timeout: float | None
    cancelled: threading.Event = attrs.field(factory=threading.Event)
    deadline: float | None = None
    result: Any = None
    has_ended: bool = False


class ToolJobs:
    """The jobs of one runtime. Safe to use from any OS thread.

    To run, a job needs one of `limit` places. First, the place is reserved. Then the start of the function is saved in
    the store. Then the job is added, and runs. So no start is saved for a function that still waits for a place.

    Args:
        limit: the number of jobs that can have a place at the same time. A cancelled job gives its place back, even if
            its function still runs.
        wake: a function that is called with the id of a thread when one of its jobs has begun or ended, or may be
            added.
        run_soon: a function that calls another function a little later; None to use an OS thread for each job.

    Attributes:
        is_closing: True if no more places may be reserved.
        waiters: the callers to wake when a result or a place is no longer wanted.
    """

    def __init__(
        self,
        clock: Clock,
        limit: int,
        wake: Callable[[str], None],
        run_soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._wake = wake
        self._run_soon = run_soon or _on_a_thread
        self._lock = threading.RLock()
        self.waiters: Waiters = Waiters(threading.RLock())
        self._jobs: dict[str, dict[JobKey, Job]] = {}
        """The jobs whose results are still wanted, by thread."""
        self._queue: dict[JobKey, None] = {}
        """The jobs that wait for a place. The job that has waited longest is the first."""
        self._reserved: set[JobKey] = set()
        """The jobs that have a place but were not added yet."""
        self._begun: set[Job] = set()
        """The jobs that were added and have a place."""
        self.is_closing: bool = False
        self._is_closed = False

    def reserve(self, key: JobKey) -> bool:
        """Reserve a place for a job, and return whether this was possible. If not, the job waits for a place.

        The job that has waited longest gets the next free place, and then its thread is woken. The place stays reserved
        until the job is added, or until `give_back` is called.
        """
        with self._lock:
            if key not in self._reserved and not self.is_closing:
                # A place that has just become free belongs to the first job in the queue.
                if self._free and not self._queue:
                    self._reserved.add(key)
                else:
                    self._queue[key] = None
            return key in self._reserved

    def give_back(self, *keys: JobKey) -> None:
        """Give back the reserved places of these jobs. Jobs that still wait for a place stop waiting."""
        if not keys:
            return
        with self._lock:
            for key in keys:
                self._reserved.discard(key)
                self._queue.pop(key, None)
        self.waiters.notify()
        self._fill()

    def add(self, job: Job) -> None:
        """Run a job that has a reserved place.

        If no OS thread can be started for the job, its result is its fallback.
        """
        with self._lock:
            self._jobs.setdefault(job.key[0], {})[job.key] = job
            self._reserved.discard(job.key)
            if self._is_closed:
                return
            self._begun.add(job)
        try:
            self._run_soon(functools.partial(self._run, job))
        except Exception:
            log.exception("%s: there is no OS thread for the call %s", job.key[0], job.key[2])
            self._end(job, job.fallback)

    def of_thread(self, thread_id: str) -> dict[JobKey, Job]:
        """Return the jobs of a thread whose results are still wanted."""
        if thread_id not in self._jobs:
            return {}
        with self._lock:
            return dict(self._jobs.get(thread_id, {}))

    def forget(self, *jobs: Job) -> None:
        """Forget jobs whose results are no longer wanted. Cancel those that still run, and free their places."""
        if not jobs:
            return
        with self._lock:
            for job in jobs:
                wanted = self._jobs.get(job.key[0], {})
                wanted.pop(job.key, None)
                if not wanted:
                    self._jobs.pop(job.key[0], None)
                if not job.has_ended:
                    job.cancelled.set()
                    self._begun.discard(job)
        self.waiters.notify()
        self._fill()

    @property
    def threads(self) -> set[str]:
        """The ids of the threads that have a job whose result is still wanted, or a job with a reserved place."""
        with self._lock:
            return set(self._jobs) | {key[0] for key in self._reserved}

    def drop(self, thread_id: str) -> None:
        """Forget the jobs of a thread, because another process drives the thread now."""
        self.forget(*self.of_thread(thread_id).values())

    def close(self) -> int:
        """Begin no more jobs, and cancel all jobs. Return how many jobs have not ended."""
        with self._lock:
            self.is_closing = self._is_closed = True
            self._reserved.clear()
            left = [job for jobs in self._jobs.values() for job in jobs.values()]
        self.forget(*left)
        return sum(not job.has_ended for job in left)

    # --- inside ------------------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        return 0 if self.is_closing else max(self._limit - len(self._reserved) - len(self._begun), 0)

    def _fill(self) -> None:
        """Give the free places to the jobs that have waited longest, and wake their threads."""
        with self._lock:
            keys = list(itertools.islice(self._queue, self._free))
            for key in keys:
                del self._queue[key]
            self._reserved.update(keys)
        for key in keys:
            self._wake(key[0])

    def _run(self, job: Job) -> None:
        if job.timeout is not None:
            job.deadline = self._clock.monotonic() + job.timeout
            self._wake(job.key[0])
        result = job.fallback
        try:
            with signals.inside_tool():
                result = job.work(job.cancelled)
        except BaseException as error:
            if must_propagate(error):
                raise
            log.exception("%s: the call %s failed", job.key[0], job.key[2])
        finally:
            self._end(job, result)

    def _end(self, job: Job, result: Any) -> None:  # noqa: ANN401 - whatever the job returns
        with self._lock:
            job.result, job.has_ended = result, True
            self._begun.discard(job)
            unwanted = self._jobs.get(job.key[0], {}).get(job.key) is not job
        if unwanted:
            log.warning("%s: the output of the call %s came too late and is dropped", job.key[0], job.key[2])
        self._wake(job.key[0])
        self._fill()


def _on_a_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="gpt-agent-fsm tool", daemon=True).start()
