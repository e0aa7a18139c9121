"""Run the functions of tools, and the rules that decide about approvals, on OS threads of their own."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.engine.waiters import Waiters
from gpt_agent_fsm.logs import get_logger, must_propagate

__all__ = ["Job", "JobKey", "ToolJobs"]

log = get_logger(__name__)

JobKey: TypeAlias = tuple[str, str, str, int]
"""The ids of thread, run and call, and the attempt. The attempt is 0 for the question to a tool's rule."""


@attrs.define(eq=False)
class Job:
    """A function that runs, or waits for its turn.

    Attributes:
        work: returns the result.
        fallback: the result if `work` raises an error, or if no OS thread can be started for it.
        timeout: the seconds that `work` may take; None for no limit.
        cancelled: set when the result is no longer wanted.
        deadline: when the time of `work` is over, in monotonic seconds; None before it has begun, or without a timeout.
        result: what `work` returned; None until then.
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

    Args:
        limit: how many jobs run at the same time. A job whose time is over no longer counts.
        wake: called with the id of a thread when one of its jobs has begun or ended.
        run_soon: arranges that a function is called soon. With None, each job gets an OS thread.

    Attributes:
        is_closing: True when no further job may be added.
        waiters: notified when a result is no longer wanted.
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
        self.waiters = Waiters()
        self._jobs: dict[str, dict[JobKey, Job]] = {}
        """The jobs whose results are still wanted, by thread."""
        self._waiting: deque[Job] = deque()
        self._begun: set[Job] = set()
        """The jobs that have begun and count for the limit."""
        self.is_closing = False

    def add(self, job: Job) -> None:
        """Run a job as soon as it is its turn."""
        with self._lock:
            self._jobs.setdefault(job.key[0], {})[job.key] = job
            self._waiting.append(job)
        self._begin()

    def of_thread(self, thread_id: str) -> dict[JobKey, Job]:
        """Return the jobs of a thread whose results are still wanted."""
        if thread_id not in self._jobs:
            return {}
        with self._lock:
            return dict(self._jobs.get(thread_id, {}))

    def forget(self, *jobs: Job, cancel: bool) -> None:
        """Forget jobs whose results nobody wants now. With `cancel`, tell their functions, and let other jobs begin."""
        with self._lock:
            for job in jobs:
                wanted = self._jobs.get(job.key[0], {})
                wanted.pop(job.key, None)
                if not wanted:
                    self._jobs.pop(job.key[0], None)
                if cancel:
                    job.cancelled.set()
                    self._begun.discard(job)
            if cancel:
                self._waiting = deque(each for each in self._waiting if each not in jobs)
        self.waiters.notify()
        self._begin()

    @property
    def threads(self) -> set[str]:
        """The threads with jobs whose results are still wanted."""
        with self._lock:
            return set(self._jobs)

    def drop(self, thread_id: str) -> None:
        """Forget the jobs of a thread, because another process drives the thread now."""
        self.forget(*self.of_thread(thread_id).values(), cancel=True)

    def close(self) -> int:
        """Begin no more jobs, and tell running functions that no result is wanted. Return how many have not ended."""
        with self._lock:
            self.is_closing, self._limit = True, 0
            self._waiting.clear()
            left = [job for jobs in self._jobs.values() for job in jobs.values()]
        self.forget(*left, cancel=True)
        return sum(not job.has_ended for job in left)

    # --- inside ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the jobs that may begin. If no OS thread can be started for a job, the job ends at once."""
        while (job := self._next()) is not None:
            try:
                self._run_soon(functools.partial(self._run, job))
            except Exception:
                log.exception("%s: there is no OS thread for the call %s", job.key[0], job.key[2])
                self._end(job, job.fallback)

    def _next(self) -> Job | None:
        with self._lock:
            if not self._waiting or len(self._begun) >= self._limit:
                return None
            job = self._waiting.popleft()
            self._begun.add(job)
            return job

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
            self._begin()

    def _end(self, job: Job, result: Any) -> None:  # noqa: ANN401 - whatever the job returns
        with self._lock:
            job.result, job.has_ended = result, True
            self._begun.discard(job)
            unwanted = self._jobs.get(job.key[0], {}).get(job.key) is not job
        if unwanted:
            log.warning("%s: the output of the call %s came too late and is dropped", job.key[0], job.key[2])
        self._wake(job.key[0])


def _on_a_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="gpt-agent-fsm tool", daemon=True).start()
