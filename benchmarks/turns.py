"""Turns: this library beside the official SDK and loops written by hand, on one small server in a process of its own.

Prints the CPU time of the client for each turn and for each poll, as medians of rounds in which the clients take turns:

    python -m benchmarks.turns
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.clients import CLIENTS, Converse
from benchmarks.processes import cpu
from benchmarks.serving import ROOT, command, server
from benchmarks.tables import Table, interleaved, table_of

_FEW, _MANY = 2, 32
"""How many polls each of the two stops of a run takes."""
_AT_ONCE = 16
"""How many conversations are held at once. The plain loop has an OS thread for each conversation."""
_NAMES = {
    "sdk": "official SDK",
    "prepared": "by hand, prepared requests",
    "threads": "by hand, an OS thread per conversation",
    "handlers": "library, handlers",
    "wait": "library, `wait`",
    "sqlite": "library, handlers, SQLite",
}


def measure(name: str, base_url: str, conversations: int, turns: int) -> tuple[float, float]:
    """Return the CPU seconds of this process for each turn, and for each poll."""
    converse = CLIENTS[name](base_url)
    converse(1, _FEW)  # the first conversation loads what is loaded late
    at_once = conversations if name.endswith("threads") else min(conversations, _AT_ONCE)
    few = _cpu_per_turn(converse, conversations, at_once, turns, _FEW)
    many = _cpu_per_turn(converse, conversations, at_once, 1, _MANY)
    # A conversation of one turn also creates its thread. That costs less than a hundredth of so many polls.
    return few, (many - few) / (2 * (_MANY - _FEW))


def _cpu_per_turn(converse: Converse, conversations: int, at_once: int, turns: int, polls: int) -> float:
    before = cpu()
    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(converse, turns, polls) for _ in range(conversations)]:
            done.result()
    return (cpu() - before) / (conversations * turns)


class Rounds:
    """Measures each client in a process of its own, and keeps the results of both measures."""

    def __init__(self, base_url: str, conversations: int, turns: int) -> None:
        self._base_url, self._size = base_url, (conversations, turns)
        self.per_poll: dict[str, list[float]] = {name: [] for name in CLIENTS}

    def per_turn(self, name: str) -> Callable[[], float]:
        """Return a function that measures one client, notes the time of a poll, and returns the time of a turn."""

        def run() -> float:
            run = command("turns", "--client", name, "--base-url", self._base_url, "--conversations", self._size[0])
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                run += ["--turns", str(self._size[1]), "--folder", folder]
                done = subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            turn, poll = json.loads(done.stdout)
            self.per_poll[name].append(poll)
            return float(turn)

        return run


def tables(rounds: int, conversations: int, turns: int, report: Callable[[str], None]) -> list[Table]:
    """Return the tables of the turns and polls."""
    with server("turn_server") as base_url:
        clients = Rounds(base_url, conversations, turns)
        per_turn = interleaved({name: clients.per_turn(name) for name in CLIENTS}, rounds, report)

    def chosen(results: dict[str, list[float]], *names: str) -> dict[str, list[float]]:
        return {_NAMES[name.partition("/")[2]]: results[name] for name in names}

    assistants = [name for name in CLIENTS if name.startswith("assistants/") and not name.endswith("sqlite")]
    responses = [name for name in CLIENTS if name.startswith("responses/")]
    stores = {"library, handlers, memory": per_turn["assistants/handlers"]}
    return [
        table_of("CPU of a turn, Assistants", chosen(per_turn, *assistants), _milliseconds),
        table_of("CPU of a poll, Assistants", chosen(clients.per_poll, *assistants), _microseconds),
        table_of("CPU of a turn, Responses", chosen(per_turn, *responses), _milliseconds),
        table_of("CPU of a poll, Responses", chosen(clients.per_poll, *responses), _microseconds),
        table_of("CPU of a turn, stores", stores | chosen(per_turn, "assistants/sqlite"), _milliseconds),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.0f} µs"


def main() -> None:
    """Print all tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=50)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        os.chdir(options.folder)
        print(json.dumps(measure(options.client, options.base_url, options.conversations, options.turns)), flush=True)
        os._exit(0)  # the end of a process is not measured, and agents need not be stopped
    for table in tables(options.rounds, options.conversations, options.turns, lambda _: None):
        print(table.markdown())


if __name__ == "__main__":
    main()
