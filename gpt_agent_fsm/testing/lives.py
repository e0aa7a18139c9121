"""Live many lives on all cores: `python -m gpt_agent_fsm.testing.lives --lives 100000`.

Prints the rate at the end. The first life in which something was lost, done twice or stuck is printed whole, with its
seed, and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import get_args

import attrs

from gpt_agent_fsm.testing.simulation import BREAKING, HONEST, Life, Wire, live

__all__ = ["main"]

_BATCH = 25


@attrs.frozen
class _Job:
    """Lives to be lived by one process."""

    first: int
    count: int
    breaking: bool
    wire: Wire


def _live_batch(job: _Job) -> tuple[int, int, int, str]:
    """Live some lives; return how many, their crashes and requests, and the report of a bad one."""
    crashes = requests = 0
    for seed in range(job.first, job.first + job.count):
        life = _live(seed, job)
        crashes += life.crashes
        requests += life.requests
        if life.violations:
            return seed - job.first + 1, crashes, requests, life.report()
    return job.count, crashes, requests, ""


def _be_silent() -> None:
    """Log nothing in a worker: failing is what its lives are about."""
    logging.disable(logging.CRITICAL)


def _live(seed: int, job: _Job) -> Life:
    if job.breaking:
        return live(seed, BREAKING, keeps_keys=seed % 2 == 0, wire=job.wire)
    return live(seed, HONEST, wire=job.wire)


def _jobs(options: argparse.Namespace, deadline: float) -> Iterator[_Job]:
    end = options.first_seed + options.lives
    for seed in range(options.first_seed, end, _BATCH):
        if time.monotonic() > deadline:
            return
        yield _Job(seed, min(_BATCH, end - seed), options.breaking, options.wire)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m gpt_agent_fsm.testing.lives")
    parser.add_argument("--lives", type=int, default=5000, help="how many at most (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further life after this time")
    parser.add_argument("--at-least", type=int, default=0, help="fail if fewer were lived in the time")
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds count up from here (default: 0)")
    parser.add_argument("--breaking", action="store_true", help="a network that breaks its promises")
    parser.add_argument("--wire", choices=get_args(Wire), default="assistants", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    jobs = _jobs(options, started + options.seconds)
    lived = crashes = requests = 0
    report = ""
    with multiprocessing.get_context("spawn").Pool(options.workers, _be_silent) as pool:
        for batch in _in_step(pool, jobs, options.workers):
            lived, crashes, requests = lived + batch[0], crashes + batch[1], requests + batch[2]
            report = batch[3]
            if report:
                break
    seconds = time.monotonic() - started
    rate = f"in {seconds:.0f} s: {lived / seconds:.0f} a second"
    print(f"{lived} lives with {crashes} crashes and {requests} requests {rate}")
    if report:
        print(report)
        return 1
    if lived < options.at_least:
        print(f"{options.at_least} were to be lived at least")
        return 1
    print("nothing lost, nothing twice, nothing stuck")
    return 0


def _in_step(
    pool: multiprocessing.pool.Pool, jobs: Iterator[_Job], workers: int
) -> Iterator[tuple[int, int, int, str]]:
    """Keep every worker busy without taking more jobs than there is time for."""
    waiting = [pool.apply_async(_live_batch, (job,)) for job in itertools.islice(jobs, 2 * workers)]
    while waiting:
        yield waiting.pop(0).get()
        waiting += [pool.apply_async(_live_batch, (job,)) for job in itertools.islice(jobs, 1)]


if __name__ == "__main__":
    sys.exit(main())
