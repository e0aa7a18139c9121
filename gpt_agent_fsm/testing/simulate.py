"""Simulates many lives on all cores: `python -m gpt_agent_fsm.testing.simulate --lives 100000`.

A life is one simulated set of conversations, from the first process to the last. At the end, the command prints the
number of lives per second, and the rows of the machine's table that no life took. If something in a life was lost, done
twice or stuck, the command prints that whole life with its seed, and exits with code 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import attrs

from gpt_agent_fsm.machine.table import STORIES
from gpt_agent_fsm.testing.number_options import number_from, whole_number_from
from gpt_agent_fsm.testing.simulation import BREAKING, HONEST, Life, Wire, simulate

__all__ = ["main"]

_BATCH = 25


@attrs.frozen
class _Job:
    """A batch of lives that one OS process simulates."""

    first: int
    count: int
    breaking: bool
    wire: Wire
    cluster: bool


@attrs.define
class _Tally:
    """The totals of some lives. A worker process sends them to the main process.

    Attributes:
        rows: the number of times that each row of the machine's table was taken, by the row's name.
        report: the report of the first life with a violation; "" if no life had a violation.
    """

    lives: int = 0
    crashes: int = 0
    requests: int = 0
    rows: Counter[str] = attrs.field(factory=Counter)
    report: str = ""

    def add_life(self, life: Life) -> None:
        """Add one life to the totals."""
        self.add(_Tally(1, life.crashes, life.requests, life.rows, life.report() if life.violations else ""))

    def add(self, other: _Tally) -> None:
        """Add the lives of another tally."""
        self.lives += other.lives
        self.crashes += other.crashes
        self.requests += other.requests
        self.rows.update(other.rows)
        self.report = self.report or other.report

    def rows_in_order(self) -> dict[str, int]:
        """Return how often each row was taken, in the order of the table. Rows that were never taken are included."""
        return {name: self.rows[name] for name in STORIES}


def _simulate_batch(job: _Job) -> _Tally:
    """Simulate the lives of a job, up to the first life with a violation."""
    tally = _Tally()
    for seed in range(job.first, job.first + job.count):
        tally.add_life(_simulate_one(seed, job))
        if tally.report:
            break
    return tally


def _be_silent() -> None:
    """Turn off logging in this process, because faults happen on purpose in the simulated lives."""
    logging.disable(logging.CRITICAL)


def _simulate_one(seed: int, job: _Job) -> Life:
    if job.breaking:
        return simulate(seed, BREAKING, keeps_keys=seed % 2 == 0, wire=job.wire, cluster=job.cluster)
    return simulate(seed, HONEST, wire=job.wire, cluster=job.cluster)


def _jobs(options: argparse.Namespace, deadline: float) -> Iterator[_Job]:
    end = options.first_seed + options.lives
    for seed in range(options.first_seed, end, _BATCH):
        if time.monotonic() > deadline:
            return
        yield _Job(seed, min(_BATCH, end - seed), options.breaking, options.wire, options.cluster)


def _in_step(pool: multiprocessing.pool.Pool, jobs: Iterator[_Job], workers: int) -> Iterator[_Tally]:
    """Yield the tally of each job, in order. Keep two jobs per process in hand, so that no process is idle."""
    waiting = [pool.apply_async(_simulate_batch, (job,)) for job in itertools.islice(jobs, 2 * workers)]
    while waiting:
        yield waiting.pop(0).get()
        waiting += [pool.apply_async(_simulate_batch, (job,)) for job in itertools.islice(jobs, 1)]


def _simulate_all(options: argparse.Namespace) -> _Tally:
    """Simulate lives until their number is reached, the time is over, or a life has a violation."""
    jobs = _jobs(options, time.monotonic() + options.seconds)
    total = _Tally()
    with multiprocessing.get_context("spawn").Pool(options.workers, _be_silent) as pool:
        for tally in _in_step(pool, jobs, options.workers):
            total.add(tally)
            if total.report:
                break
    return total


def _print_missing_rows(counts: dict[str, int]) -> None:
    missing = [name for name, count in counts.items() if not count]
    print(f"{len(counts) - len(missing)} of {len(counts)} rows of the table were taken", end="")
    print("; never:" if missing else "")
    for name in missing:
        print(f"    {name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpt_agent_fsm.testing.simulate")
    parser.add_argument(
        "--lives", type=whole_number_from(0), default=5000, help="maximum number of lives (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=number_from(0), default=float("inf"), help="start no further life after this time"
    )
    parser.add_argument(
        "--at-least", type=whole_number_from(0), default=0, help="fail if fewer lives were completed in time"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="the seeds count up from here (default: 0)")
    parser.add_argument("--breaking", action="store_true", help="use a network that violates the model")
    parser.add_argument("--cluster", action="store_true", help="let several workers share the store")
    parser.add_argument("--wire", choices=get_args(Wire), default="assistants", help="default: %(default)s")
    parser.add_argument(
        "--workers",
        type=whole_number_from(1, 1_000),
        default=os.cpu_count() or 1,
        help="processes (default: all cores)",
    )
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="write how often each row of the table was taken, as JSON"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rows is not None and not options.rows.absolute().parent.is_dir():
        parser.error(f"--rows: there is no folder {options.rows.absolute().parent}")
    started = time.monotonic()
    total = _simulate_all(options)
    seconds = time.monotonic() - started
    rate = f"in {seconds:.0f} s: {total.lives / seconds:.0f} a second"
    print(f"{total.lives} lives with {total.crashes} crashes and {total.requests} requests {rate}")
    counts = total.rows_in_order()
    _print_missing_rows(counts)
    if options.rows is not None:
        options.rows.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    if total.report:
        print(total.report)
        return 1
    if total.lives < options.at_least:
        print(f"fewer lives than required: at least {options.at_least}")
        return 1
    print("nothing lost, nothing twice, nothing stuck")
    return 0


if __name__ == "__main__":
    sys.exit(main())
