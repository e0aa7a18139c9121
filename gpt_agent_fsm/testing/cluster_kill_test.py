"""Kills workers of a cluster many times: `python -m gpt_agent_fsm.testing.cluster_kill_test`.

The parent process runs the embedded server and a PostgreSQL server for the whole experiment. Some child processes are
workers, which drive the threads of one cluster. Other child processes are clients, the users of these threads. The
parent kills workers and clients with SIGKILL, and freezes workers with SIGSTOP for longer than a lease lasts. It also
restarts the database as after a crash, and cuts all connections to it. Each killed process is replaced.

A client writes a line into a file for each promise of the library: when the library has accepted a message, and when it
has announced an answer. After it was killed, a new process of the client checks that it finds all accepted messages. At
the end, when all threads rest, the parent compares the server's threads with the promises: each accepted message is on
the server once and in order, with one answer, and each answer was announced. A client answers the tool calls that no
function answers, and the approvals, of threads whose users are in another process.

Each run of a function writes a line, too. A function that may run only once per call must not have run twice for a
call. If a function never ran for a call, its call was denied, or `ToolOutcomeUnknown` was announced.

When a worker is killed or frozen, the parent measures the time until another worker has claimed each of its threads
that has work. The limit counts from the last fault, because no thread can be taken while the database is away.

One thing can happen twice: a worker that is frozen between its last check and the request sends the request when it
continues. The parent notices a request of a resumed worker for a thread that another worker has by then. It counts
these requests apart, together with what was done twice because of them.

The command needs the extras `local` and `cluster`, a system with SIGKILL, and the programs of PostgreSQL or a
`--database` whose server is not restarted.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gpt_agent_fsm import events
from gpt_agent_fsm.local import LocalServer, ModelRequest, SeenRequest, ToolCall
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.cluster_children import ENOUGH, PROCESS, Plan, key_of, place_of, run_child
from gpt_agent_fsm.testing.cluster_killer import Killer
from gpt_agent_fsm.testing.kill_books import WIRES, Books
from gpt_agent_fsm.testing.kill_tools import calls_for, tool_violations
from gpt_agent_fsm.testing.number_options import number_from, whole_number_from
from gpt_agent_fsm.testing.postgresql import PostgreSQL, a_postgresql, obstacle
from gpt_agent_fsm.testing.takeovers import Database, Takeover, figures

__all__ = ["main"]

_LOOK = 0.25
_PROGRESS = 20.0
"""Seconds between two lines about the progress."""
_DRAIN = 600.0
_FRESH = 5.0
"""Seconds after a worker was resumed in which it may still send what it was about to send."""
_UNSETTLED = """
SELECT t.thread_id FROM gpt_agent_threads t
WHERE t.unfinished OR EXISTS (SELECT 1 FROM gpt_agent_inbox i WHERE i.thread_id = t.thread_id)
"""
_OWNER = "SELECT worker FROM gpt_agent_owners WHERE thread_id = %s"
_THREAD = re.compile(r"\b(?:thread|conv)_\w+")


def _answer(request: ModelRequest) -> str | list[ToolCall]:
    calls = calls_for(request.user_message, approvals=True) if request.messages[-1]["role"] == "user" else []
    return calls or "Understood"


class _LateRequests:
    """The requests that resumed workers have sent for threads that another worker had. Safe from any OS thread."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._resumed: dict[str, float] = {}
        self._lock = threading.Lock()
        self.threads: list[str] = []
        """The thread of each such request."""

    def note_resumed(self, pid: int) -> None:
        """Note that a worker continues now."""
        self._resumed[str(pid)] = time.monotonic()

    def hear(self, request: SeenRequest) -> None:
        """Note a request that the server has got."""
        pid = request.headers.get(PROCESS, "")
        found = _THREAD.search(f"{request.path} {request.body}")
        is_fresh = time.monotonic() < self._resumed.get(pid, 0.0) + _FRESH
        if request.method == "POST" and found is not None and is_fresh and request.status < 400:
            with self._lock:
                rows = self._database.ask(_OWNER, found.group())
            if rows and f"-{pid}-" not in str(rows[0][0]):
                self.threads.append(found.group())

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


class _Experiment:
    """One experiment, from the first process to the comparison."""

    def __init__(
        self, plan: Plan, folder: Path, server: PostgreSQL | None, late: _LateRequests, options: argparse.Namespace
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._late = late
        self._options = options
        rng = random.Random(options.seed)  # noqa: S311 - the times and kinds of faults
        command = [sys.executable, "-m", __spec__.name]
        self._rng = rng
        self._killer = Killer(command, folder, plan.database, server, rng, late.note_resumed)
        self._wrong = self._killer.wrong
        self._settled = Database(plan.database)
        self._told = time.monotonic()

    def run(self) -> None:
        """Start everything, make faults until there were enough messages, and wait until all threads rest."""
        self._plan.write(self._folder)
        try:
            for role, count in (("worker", self._options.workers), ("client", self._plan.clients)):
                for number in range(count):
                    self._killer.start(role, number)
            self._wait(lambda: self._killer.all_are_ready, "the processes did not begin", 1.0)
            self._make_faults()
            self._wait(lambda: self._killer.all_are_ready, "a process does not begin", 0.25)
            self._wait(self._all_rest, "threads are stuck", 1.0)
            self._killer.end_all()
        finally:
            self._killer.kill_all()
            self._settled.close()

    def _make_faults(self) -> None:
        started = time.monotonic()
        deadline = started + self._options.at_most
        next_fault = started + self._pause()
        while time.monotonic() < deadline:
            if time.monotonic() > started + self._options.seconds:
                (self._folder / ENOUGH).touch()
                if self._has_enough():
                    return
            self._killer.check()
            self._tell("faults")
            if time.monotonic() > next_fault:
                self._killer.make_a_fault()
                next_fault = time.monotonic() + self._pause()
            time.sleep(_LOOK)
        self._wrong.append(f"there were not enough messages after {self._options.at_most:g} seconds")

    def _tell(self, phase: str) -> None:
        """Say to the person who waits how far the experiment is."""
        now = time.monotonic()
        if now > self._told + _PROGRESS:
            self._told = now
            unsettled = self._settled.try_to_ask(_UNSETTLED)
            busy = "?" if unsettled is None else str(len(unsettled))
            print(
                f"{phase}: {len(self._lines('accepted.*'))} messages accepted, {busy} threads busy, "
                f"{self._killer.faults.total()} faults, {len(self._wrong)} violations",
                file=sys.stderr,
                flush=True,
            )

    def _pause(self) -> float:
        return self._rng.uniform(0.0, 2 * self._options.pause)

    def _wait(self, question: Callable[[], bool], problem: str, part: float) -> None:
        deadline = time.monotonic() + part * _DRAIN
        while not question():
            if time.monotonic() > deadline:
                self._wrong.append(problem)
                return
            self._killer.check()
            self._tell("waiting")
            time.sleep(_LOOK)

    def _has_enough(self) -> bool:
        counts = Counter(place_of(message)[0] for message in self._lines("accepted.*"))
        return len(counts) == self._plan.threads and min(counts.values()) >= self._plan.messages

    def _all_rest(self) -> bool:
        return self._has_enough() and self._settled.try_to_ask(_UNSETTLED) == []

    def _lines(self, pattern: str) -> list[str]:
        return [line for path in self._folder.glob(pattern) for line in path.read_text().splitlines()]

    # --- the comparison -------------------------------------------------------------------------------------

    def compare(self) -> tuple[list[str], Counter[str]]:
        """Compare the server's threads with the promises. Return the violations, and counts."""
        wrong, counts = self._wrong + self._lines("wrong.*"), self._killer.faults.copy()
        late, heard = Counter(self._late.threads), set(self._lines("heard.*"))
        counts["requests of resumed workers for threads of others"] = late.total()
        tried, accepted = set(self._lines("tried.*")), defaultdict[int, list[str]](list)
        for message in sorted(self._lines("accepted.*"), key=place_of):
            accepted[place_of(message)[0]].append(message)
        books = Books(self._plan.base_url, WIRES[self._plan.wire])
        history: list[events.Event] = []
        with contextlib.closing(SQLStore(self._plan.database, read_only=True)) as store:
            for place in range(self._plan.threads):
                thread_id = store.find(key_of(place)) or ""
                found = books.compare(place, thread_id, accepted[place])
                wrong += found.wrong
                if late[thread_id]:
                    counts["things done twice by them"] += len(found.twice)
                else:
                    wrong += found.twice
                wrong += [f"{text} is on the server, and nobody sent it" for text in found.posted if text not in tried]
                if found.posted != sorted(found.posted, key=place_of):
                    wrong.append(f"thread {place}: the messages are not in the order in which they were sent")
                wrong += [f"answer {answer} was never announced" for answer in found.answers if answer not in heard]
                counts.update(found.counts)
                of_thread = [record.event for record in store.history(thread_id)]
                wrong += _twice_in_history(place, of_thread)
                history += of_thread
        of_calls, of_tools = tool_violations(history, self._lines("ran"))
        return wrong + of_calls + self._late_takeovers(), counts + of_tools

    def _late_takeovers(self) -> list[str]:
        takeovers, limit = self._killer.takeovers, self._options.limit
        wrong = [f"{each.thread_id} was never taken over" for each in takeovers.waiting]
        late = [each for each in takeovers.done if _seconds(each) > limit]
        if late:
            wrong.append(f"{len(late)} threads had no worker for more than {limit:g} seconds after the last fault")
        return wrong

    def takeovers(self) -> str:
        """Return the figures of the takeovers."""
        done = self._killer.takeovers.done
        alone = [_seconds(each) for each in done if not each.was_disturbed]
        after_more = [_seconds(each) for each in done if each.was_disturbed]
        return (
            f"takeovers {figures(alone)}\n"
            f"takeovers during which more faults happened, counted from the last one, {figures(after_more)}"
        )


def _seconds(takeover: Takeover) -> float:
    return (takeover.taken or 0.0) - takeover.last_fault


def _twice_in_history(place: int, history: Sequence[events.Event]) -> Iterator[str]:
    answers = Counter(event.message_id for event in history if isinstance(event, events.AssistantMessageAdded))
    for message_id, count in answers.items():
        if count > 1:
            yield f"thread {place}: the answer {message_id} is in the history {count} times"


def _run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = None if options.database else stack.enter_context(a_postgresql())
        url = options.database if server is None else server.new_schema()
        late = stack.enter_context(contextlib.closing(_LateRequests(url)))
        local = stack.enter_context(LocalServer(_answer, on_request=late.hear, run_expires_after=3600.0))
        plan = Plan(
            database=url,
            base_url=local.base_url,
            wire=options.wire,
            threads=options.threads,
            messages=options.messages,
            clients=options.clients,
            think=options.think,
        )
        started = time.monotonic()
        experiment = _Experiment(plan, folder, server, late, options)
        experiment.run()
        wrong, counts = experiment.compare()
    facts = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(
        f"{options.workers} workers, {options.clients} clients and {options.threads} threads in "
        f"{time.monotonic() - started:.0f} s: {facts}"
    )
    print(experiment.takeovers())
    for sentence in wrong:
        print(sentence)
    print("nothing lost, nothing twice, nothing stuck" if not wrong else f"{len(wrong)} violations")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpt_agent_fsm.testing.cluster_kill_test")

    def option(name: str, kind: Callable[[str], float], default: float, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default: %(default)s)")

    option("--workers", whole_number_from(2, 100), 3, "number of workers")
    option("--clients", whole_number_from(1, 100), 3, "number of clients")
    option("--threads", whole_number_from(1), 1000, "number of threads")
    option("--messages", whole_number_from(1), 5, "smallest number of messages of a thread")
    option("--seconds", number_from(0.0, 1e6), 300.0, "shortest time of the faults")
    option("--at-most", number_from(1.0, 1e6), 3600.0, "longest time of the faults, in seconds")
    option("--pause", number_from(0.1, 3600.0), 6.0, "mean time between two faults, in seconds")
    option("--think", number_from(0.0, 3600.0), 60.0, "longest time between an answer and the next message, in seconds")
    option("--limit", number_from(0.0, 3600.0), 15.0, "longest time until a thread is taken over, in seconds")
    option("--seed", int, 0, "seed of the times and kinds of the faults")
    parser.add_argument("--wire", choices=list(WIRES), default="assistants", help="default: %(default)s")
    parser.add_argument("--database", metavar="URL", help="an empty PostgreSQL database, instead of a new server")
    parser.add_argument("--child", choices=["worker", "client"], help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.child is not None:
        run_child(options.child, options.number, options.folder)
        return 0
    if not options.database and (reason := obstacle()) is not None:
        parser.error(f"{reason} Install PostgreSQL, or give a --database.")
    return _run(options)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the database does not outlive the command
    sys.exit(main())
