"""Many conversations at once: this library against a hand-written loop with one OS thread per conversation.

Both use the same server in memory, where every answer takes `--latency` seconds, so that only the driving is compared.
Prints requests per second, OS threads, and memory per conversation:

    python -m benchmarks.conversations --conversations 1000
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
import tracemalloc
from collections.abc import Callable

from gpt_agent_fsm import Runtime, Settings
from gpt_agent_fsm.ports import RunRequest, RunStatus
from gpt_agent_fsm.testing import Answer, Linger, SimulatedServer

HEARTBEAT = 0.25


class SlowServer(SimulatedServer):
    """A server that delays every answer and counts its requests."""

    def __init__(self, latency: float) -> None:
        super().__init__(lambda text: [Linger(2), Answer(text)])
        self.latency = latency
        self.requests = 0
        self._lock = threading.Lock()

    def __getattribute__(self, name: str):  # noqa: ANN204 - any attribute of the server
        found = super().__getattribute__(name)
        if name not in ("list_runs", "post_message", "create_run", "get_run", "list_messages"):
            return found

        def slowly(*args: object, **kwargs: object) -> object:
            time.sleep(self.latency)
            with self._lock:
                self.requests += 1
                return found(*args, **kwargs)

        return slowly


def with_the_library(server: SlowServer, thread_ids: list[str], workers: int) -> tuple[float, int]:
    with Runtime(server, Settings(heartbeat_interval=HEARTBEAT, workers=workers)) as runtime:
        latency, server.latency = server.latency, 0.0  # connecting is sequential, in the caller's time
        agents = [
            runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None)
            for thread_id in thread_ids
        ]
        server.latency, server.requests = latency, 0
        started = time.perf_counter()
        for agent in agents:
            agent.add_user_message("Hello")
        threads = threading.active_count()
        for agent in agents:
            agent.wait(timeout=600)
        return time.perf_counter() - started, threads


def by_hand(server: SlowServer, thread_ids: list[str], _workers: int) -> tuple[float, int]:
    def converse(thread_id: str) -> None:
        server.post_message(thread_id, "Hello", key="k", timeout=1)
        run = server.create_run(RunRequest(thread_id=thread_id, assistant_id="asst_1", key="k"), timeout=1)
        while run.status is RunStatus.ACTIVE:
            time.sleep(HEARTBEAT)
            run = server.get_run(thread_id, run.id, timeout=1)
        server.list_messages(thread_id, after=None, newest_first=False, timeout=1)

    threads = [threading.Thread(target=converse, args=(thread_id,)) for thread_id in thread_ids]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    count = threading.active_count()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, count


def measure(
    name: str, drive: Callable[[SlowServer, list[str], int], tuple[float, int]], options: argparse.Namespace
) -> float:
    server = SlowServer(options.latency)
    thread_ids = [server.create_thread(timeout=1) for _ in range(options.conversations)]
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds, threads = drive(server, thread_ids, options.workers)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{name:12} {server.requests / seconds:8.0f} requests/s  {seconds:6.2f} s  {cpu:6.2f} s cpu  "
        f"{1e6 * cpu / server.requests:6.0f} µs cpu/request  {threads:5} threads"
    )
    return seconds


def memory(conversations: int) -> float:
    """Return kB per idle agent."""
    server = SimulatedServer()
    with Runtime(server) as runtime:
        thread_ids = [server.create_thread(timeout=1) for _ in range(conversations)]
        tracemalloc.start()
        for thread_id in thread_ids:
            runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return size / conversations / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.01, help="seconds an answer takes")
    parser.add_argument("--workers", type=int, default=64, help="workers of the library")
    parser.add_argument("--memory-of", type=int, help="print only the kB that each of this many idle agents takes")
    options = parser.parse_args()
    if options.memory_of:
        print(memory(options.memory_of))
        return
    ours = measure("library", with_the_library, options)
    theirs = measure("by hand", by_hand, options)
    print(f"time, library / by hand: {ours / theirs:.2f}")
    print(f"memory of an idle agent: {memory(options.conversations):.1f} kB")


if __name__ == "__main__":
    main()
