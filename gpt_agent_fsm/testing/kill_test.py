"""Kills a real process many times while it converses: `python -m gpt_agent_fsm.testing.kill_test --kills 200`.

The parent process runs the embedded server for the whole experiment. A child process drives many conversations over
real HTTP, with its state in a SQLite file. The parent kills the child with SIGKILL at a random time, and starts the
next child. The parent stops some children with SIGSTOP instead, as if their computer were suspended. The next child
takes the store over. Then the stopped child continues, and must not send anything.

A child writes a line into a file for each promise of the library: when the library has accepted a message, and when it
has announced an answer. The last child completes the remaining work. Then the parent compares the server's threads with
the promises: each accepted message is on the server once and in order, each tool call has an output, and each answer
was announced.

Each run of a function that answers a tool call writes a line, too. A function that may run only once per call must not
have run twice for a call. If a function never ran for a call, `ToolOutcomeUnknown` must have been announced.

The command needs the extras `local` and `sql`, and a system with SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import requests

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import AgentNotAlive, StoreTaken
from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.kill_books import ASSISTANT, HEADERS, WIRES, Books, Wire, note
from gpt_agent_fsm.testing.kill_tools import calls_for, functions, tool_violations
from gpt_agent_fsm.testing.number_options import number_from, whole_number_from

__all__ = ["main"]

SETTINGS = Settings(
    heartbeat_interval=0.02,
    idle_timeout=60.0,
    receive_timeout=1.0,
    request_retry_delay=0.02,
    request_retry_max_delay=0.5,
    tool_output_retry_delay=0.05,
    workers=8,
)
_DRAIN = 120.0
_DATABASE = "agents.db"


def _acceptance(content: str) -> tuple[int, int]:
    """Return the sort key of a message in the order of acceptance: its child's start, and its number in that child."""
    _, life, number = content.split(".")
    return int(life), int(number)


# --- the child, which is killed ---------------------------------------------------------------------------------


class _Child:
    """The child process. It converses with the server until it is killed.

    With `drain`, the child adds no messages and exits when all threads are settled.
    """

    def __init__(self, base_url: str, wire: Wire, folder: Path, thread_ids: Sequence[str]) -> None:
        self._base_url = base_url
        self._wire = wire
        self._folder = folder
        self._thread_ids = thread_ids

    def run(self, *, drain: bool) -> None:
        with (
            (self._folder / "accepted").open("a") as accepted,
            (self._folder / "heard").open("a") as heard,
            (self._folder / "ran").open("a") as ran,
        ):

            def hear(agent: Agent, event: events.AssistantMessageAdded) -> None:
                note(heard, event.message_id)

            def answer(agent: Agent, event: events.ToolCallRequested) -> None:
                if event.name not in {each.name for each in tools}:
                    with contextlib.suppress(AgentNotAlive):
                        agent.submit_tool_output(event.id, {"n": 1})

            tools = functions(lambda line: note(ran, line))
            signals.assistant_message_added.connect(hear, weak=False)
            signals.tool_call_requested.connect(answer, weak=False)
            store = SQLStore(f"sqlite:///{self._folder / _DATABASE}", lock_timeout=1.0)
            # If another child has taken the store over while this child was stopped, this child ends.
            taken = contextlib.suppress(StoreTaken)
            with taken, Runtime(self._wire.backend(self._base_url), SETTINGS, store, tools=tools) as runtime:
                agents = [
                    runtime.connect(thread_id=thread_id, assistant_id=ASSISTANT, last_message_id=None)
                    for thread_id in self._thread_ids
                ]
                print("ready", flush=True)
                if drain:
                    for agent in agents:
                        agent.wait(timeout=_DRAIN)
                else:
                    self._talk(agents, accepted)

    def _talk(self, agents: list[Agent], accepted: TextIO) -> None:
        """Add a new message to each thread whenever it is settled, until another process owns the store."""
        life = time.time_ns()
        for number in itertools.count():
            if not any(agent.alive for agent in agents):
                return
            for place, agent in enumerate(agents):
                # A thread gets one message at a time, because the experiment tests requests in flight and not long
                # queues.
                if agent._driver.is_settled():
                    content = f"{place}.{life}.{number}"
                    agent.add_user_message(content)
                    note(accepted, content)
            threading.Event().wait(0.01)


# --- the parent, which stays alive ------------------------------------------------------------------------------------


class _Experiment:
    def __init__(self, base_url: str, wire: str, folder: Path, threads: int) -> None:
        self._api = base_url
        self._wire_name, self._wire = wire, WIRES[wire]
        self._folder = folder
        self._books = Books(base_url, self._wire)
        self.thread_ids = [
            requests.post(f"{base_url}{self._wire.root}", json={}, headers=HEADERS, timeout=10).json()["id"]
            for _ in range(threads)
        ]
        (folder / "threads").write_text("\n".join(self.thread_ids))
        self._stopped: list[subprocess.Popen[str]] = []
        self.stubborn = 0
        """How many former owners of the store did not end by themselves."""

    def start(self, *, drain: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", __spec__.name, "--child", str(self._folder), "--base-url", self._api]
        command += ["--wire", self._wire_name]
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, *(["--drain"] if drain else [])], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for
        if not process.stdout.readline():
            # The child could not open the store. A process that was stopped inside a transaction holds SQLite's lock
            # until it continues.
            process.communicate()
            self._wake()
            return self.start(drain=drain)
        return process

    def kill_one(self, seconds: float) -> None:
        """Start a child process, wait until it is ready, wait for this number of seconds, and kill the child.

        After half of this time, let the children continue that were stopped earlier.
        """
        process = self.start(drain=False)
        time.sleep(seconds / 2)
        self.let_continue()
        time.sleep(seconds / 2)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def stop_one(self, seconds: float) -> None:
        """Start a child process, wait until it is ready, wait for this number of seconds, and stop it with SIGSTOP.

        The next call of `let_continue` lets the child continue.
        """
        process = self.start(drain=False)
        self.let_continue()
        time.sleep(seconds)
        process.send_signal(signal.SIGSTOP)
        self._stopped.append(process)

    def _wake(self) -> None:
        for process in self._stopped:
            process.send_signal(signal.SIGCONT)

    def let_continue(self) -> None:
        """Let the stopped children continue. They must exit, because another process owns the store."""
        self._wake()
        for process in self._stopped:
            try:
                process.communicate(timeout=_DRAIN / 4)
            except subprocess.TimeoutExpired:
                self.stubborn += 1
                process.kill()
                process.communicate()
        self._stopped.clear()

    def drain(self) -> int:
        process = self.start(drain=True)
        self.let_continue()
        process.communicate(timeout=2 * _DRAIN)
        return process.returncode

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []

    def violations(self) -> tuple[list[str], Counter[str]]:
        """Compare the threads on the server with the promises that the children recorded.

        Return the broken promises, and counts.
        """
        wrong: list[str] = []
        counts: Counter[str] = Counter()
        heard = set(self._lines("heard"))
        accepted: defaultdict[int, list[str]] = defaultdict(list)
        # A child may have been stopped after a message was accepted and before its line was written. So sort the lines.
        for line in sorted(self._lines("accepted"), key=_acceptance):
            accepted[int(line.split(".")[0])].append(line)
        for place, thread_id in enumerate(self.thread_ids):
            found = self._books.compare(place, thread_id, accepted[place])
            wrong += found.twice + found.wrong
            wrong += [f"answer {answer} was never announced" for answer in found.answers if answer not in heard]
            counts.update(found.counts)
        of_calls, of_tools = tool_violations(self._history(), self._lines("ran"))
        return wrong + of_calls, counts + of_tools

    def _history(self) -> Iterator[events.Event]:
        path = self._folder / _DATABASE
        if path.exists():
            with contextlib.closing(SQLStore(f"sqlite:///{path}", read_only=True)) as store:
                for thread_id in self.thread_ids:
                    yield from (record.event for record in store.history(thread_id))


def _experiment(wire: str, kills: int, threads: int, seed: int, longest: float, stops: int) -> int:
    def model(request: ModelRequest) -> str | list[ToolCall]:
        calls = calls_for(request.user_message) if request.messages[-1]["role"] == "user" else []
        return calls or "Understood"

    rng = random.Random(seed)  # noqa: S311 - the times of the kills
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, LocalServer(model) as server:
        experiment = _Experiment(server.base_url, wire, Path(name), threads)
        for end in rng.sample([experiment.kill_one] * kills + [experiment.stop_one] * stops, kills + stops):
            end(rng.uniform(0.0, longest))
        drained = experiment.drain()
        wrong, counts = experiment.violations()
    facts = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(f"{kills} kills and {stops} stops of {threads} conversations in {time.monotonic() - started:.0f} s: {facts}")
    if drained != 0:
        wrong.append(f"the last process exited with {drained}: a thread is stuck")
    if experiment.stubborn:
        wrong.append(f"{experiment.stubborn} processes did not end although another one owned the store")
    for sentence in wrong:
        print(sentence)
    print("nothing lost, nothing twice, nothing stuck" if not wrong else f"{len(wrong)} violations")
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m gpt_agent_fsm.testing.kill_test")
    parser.add_argument(
        "--kills", type=whole_number_from(0), default=200, help="number of kills (default: %(default)s)"
    )
    parser.add_argument("--stops", type=whole_number_from(0), default=20, help="number of stops (default: %(default)s)")
    parser.add_argument(
        "--threads", type=whole_number_from(1), default=50, help="number of conversations (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the kill times (default: %(default)s)")
    parser.add_argument(
        "--longest",
        type=number_from(0.1, 3600),
        default=1.0,
        help="longest life of a process in seconds (default: %(default)s)",
    )
    parser.add_argument("--wire", choices=list(WIRES), default="assistants", help="default: %(default)s")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--drain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        thread_ids = (options.child / "threads").read_text().split()
        _Child(options.base_url, WIRES[options.wire], options.child, thread_ids).run(drain=options.drain)
        return 0
    return _experiment(options.wire, options.kills, options.threads, options.seed, options.longest, options.stops)


if __name__ == "__main__":
    sys.exit(main())
