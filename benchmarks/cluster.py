"""A cluster: turns and polls of one process, and of one, two and three workers, on one PostgreSQL server.

    python -m benchmarks.cluster

In one process, the runtime has a `SQLStore` on the same server. In a cluster, the agents are in a process of their own.
Prints the turns in a second, and the CPU time of all processes of the library for each turn and for each poll.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs

from benchmarks.clients import ASSISTANT, assistants_backend, check
from benchmarks.processes import cpu
from benchmarks.serving import ROOT, command, server
from benchmarks.turn_server import TEXT
from gpt_agent_fsm import Agent, Runtime, Settings
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.ports import Store
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.postgresql import a_postgresql

SETTINGS = Settings(heartbeat_interval=0.02, workers=16)
_FEW, _MANY = 2, 32
"""How many polls each of the two stops of a run takes."""


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def be_worker(url: str, base_url: str, pace: float | None) -> None:
    """Drive threads until the input ends, and print the CPU seconds at each line of it."""
    settings = attrs.evolve(SETTINGS, requests_per_minute=pace)
    with Runtime(assistants_backend(base_url), settings, Cluster(url, drive=True), tools=[add]):
        print("ready", flush=True)
        for _ in sys.stdin:
            print(cpu(), flush=True)


@contextlib.contextmanager
def workers_of(
    url: str, base_url: str, count: int, *, pace: float | None = None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start workers of a cluster, and end them after the `with` block. `pace`: `Settings.requests_per_minute`."""
    line = command("cluster", "--worker", url, base_url, *(() if pace is None else ("--pace", pace)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(line, cwd=ROOT, **pipes) for _ in range(count)]  # type: ignore[call-overload]  # noqa: S603
    for each in started:
        each.stdout.readline()
    yield started
    for each in started:
        each.stdin.close()
        each.wait()
        each.stdout.close()


def _cpu_of_all(workers: list[subprocess.Popen[str]]) -> float:
    total = cpu()
    for each in workers:
        assert each.stdin is not None  # noqa: S101 - for the type checker
        assert each.stdout is not None  # noqa: S101 - for the type checker
        each.stdin.write("\n")
        each.stdin.flush()
        total += float(each.stdout.readline())
    return total


def measure(count: int, url: str, base_url: str, conversations: int, turns: int) -> tuple[float, float, float]:
    """Return the turns in a second, and the CPU seconds of a turn and of a poll. `count` 0: one process alone."""
    with contextlib.ExitStack() as stack:
        store: Store = Cluster(url) if count else SQLStore(url)
        tools = [] if count else [add]
        runtime = stack.enter_context(Runtime(assistants_backend(base_url), SETTINGS, store, tools=tools))
        workers = stack.enter_context(workers_of(url, base_url, count))
        agents = [runtime.start(ASSISTANT) for _ in range(conversations)]
        _talk(agents, 1, _FEW)  # what is loaded late is loaded now
        used, since = _cpu_of_all(workers), time.monotonic()
        _talk(agents, turns, _FEW)
        few, seconds = (_cpu_of_all(workers) - used) / (conversations * turns), time.monotonic() - since
        used = _cpu_of_all(workers)
        _talk(agents, 1, _MANY)
        many = (_cpu_of_all(workers) - used) / conversations
    return conversations * turns / seconds, few, (many - few) / (2 * (_MANY - _FEW))


def _talk(agents: list[Agent], turns: int, polls: int) -> None:
    def converse(agent: Agent) -> None:
        for _ in range(turns):
            check(agent.ask(TEXT.format(polls), timeout=300).text)

    with ThreadPoolExecutor(len(agents)) as pool:
        list(pool.map(converse, agents))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--worker", nargs=2, metavar=("URL", "BASE_URL"), help=argparse.SUPPRESS)
    parser.add_argument("--pace", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--conversations", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if options.worker:
        be_worker(*options.worker, options.pace)
        return
    print("| | turns/s | CPU for each turn | CPU for each poll |\n|---|---|---|---|")
    with a_postgresql() as database, server("turn_server") as base_url:
        for count, name in enumerate(["one process, `SQLStore`", "1 worker", "2 workers", "3 workers"]):
            rate, turn, poll = measure(count, database.new_schema(), base_url, options.conversations, options.turns)
            print(f"| {name} | {rate:.0f} | {turn * 1e3:.1f} ms | {poll * 1e6:.0f} µs |", flush=True)


if __name__ == "__main__":
    main()
