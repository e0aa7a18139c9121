"""How fast stores commit, and how much group commit helps: python -m benchmarks.store [url ...].

OS threads commit as fast as they can, each for its own conversation: once with the group commit of `SQLStore`, once
with one transaction per call. Without a URL, a SQLite file is created in the current directory, on a real disk.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects
from gpt_agent_fsm.machine.queue import EMPTY, Queue, QueuedMessage
from gpt_agent_fsm.machine.snapshot import LiveRun, Outbox, Pending, Snapshot, State, Turn
from gpt_agent_fsm.ports import Store
from gpt_agent_fsm.stores import MemoryStore, SQLStore, codec

SNAPSHOT = Snapshot(
    thread_id="thread_Dz4Tn0mV6bQx2aP9rK1wYc3E",
    assistant_id="asst_Dz4Tn0mV6bQx2aP9rK1wYc3E",
    state=State.RUNNING,
    queue=Queue((QueuedMessage(key="3f0c1f64a9d34f1fb9a5c1ad30f1b6a2", content="What is the weather? " * 5),)),
    outbox=Outbox(turn=Turn(key="5f0c1f64a9d34f1fb9a5c1ad30f1b6a2", runs=1, retries_left=10)),
    run=LiveRun(id="run_Dz4Tn0mV6bQx2aP9rK1wYc3E"),
    pending=Pending(request=effects.GetRun(run_id="run_Dz4Tn0mV6bQx2aP9rK1wYc3E")),
)


def snapshot_of(number: int) -> Snapshot:
    """Return a snapshot of the thread with this number."""
    return attrs.evolve(SNAPSHOT, thread_id=f"{SNAPSHOT.thread_id}{number}")


def commit(store: Store, snapshot: Snapshot) -> None:
    """Commit once, with one event."""
    event = events.RunStarted(id="run_1", thread_id=snapshot.thread_id, assistant_id=snapshot.assistant_id)
    change = snapshot.queue.change_since(EMPTY)
    store.commit(snapshot, consumed=0, events=[event], at=time.time(), due=None, queue=change)


def commits_per_second(store: Store, threads: int, seconds: float) -> float:
    """Return the rate at which this many OS threads commit for some seconds."""
    ready, stop, done = threading.Barrier(threads + 1), threading.Event(), [0] * threads

    def work(number: int) -> None:
        snapshot = snapshot_of(number)
        commit(store, snapshot)
        ready.wait()
        while not stop.is_set():
            commit(store, snapshot)
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    stop.wait(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)


def compare(url: str, threads: int, seconds: float) -> None:
    """Print one line: the rate in groups, the rate one by one, and their ratio."""
    store = SQLStore(url)
    grouped = commits_per_second(store, threads, seconds)
    store._group._maximum = 1
    single = commits_per_second(store, threads, seconds)
    store.close()
    print(
        f"{threads:>5} threads: {grouped:>8.0f} commits/s in groups ({1e6 / grouped:>6.0f} us each), "
        f"{single:>7.0f} one by one ({1e6 / single:>6.0f} us each): {grouped / single:>5.1f} times"
    )


def codec_times(rounds: int = 20_000) -> None:
    """Print the time for encoding and decoding."""
    text = codec.encode_snapshot(SNAPSHOT)
    start = time.perf_counter()
    for _ in range(rounds):
        codec.encode_snapshot(SNAPSHOT)
    middle = time.perf_counter()
    for _ in range(rounds):
        codec.decode_snapshot(text)
    end = time.perf_counter()
    encode, decode = (middle - start) / rounds * 1e6, (end - middle) / rounds * 1e6
    print(f"a snapshot of {len(text)} characters: {encode:.1f} us to encode, {decode:.1f} us to decode")


def main() -> None:
    """Print all results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("urls", nargs="*", metavar="url")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 8, 32, 128, 1000])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    codec_times()
    memory = MemoryStore()
    print(f"MemoryStore, 8 threads: {commits_per_second(memory, 8, options.seconds):.0f} commits/s")
    with tempfile.TemporaryDirectory(dir=".", ignore_cleanup_errors=True) as folder:
        for url in options.urls or [f"sqlite:///{Path(folder).resolve()}/store.db"]:
            print(url.partition("://")[0])
            for threads in options.threads:
                compare(url, threads, options.seconds)


if __name__ == "__main__":
    main()
