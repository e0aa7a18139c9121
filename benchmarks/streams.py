"""Streams: this library beside the official SDK, on one small server in a process of its own.

Prints the time to the first piece, the CPU time for each piece, and what 200 streams beside 2,000 polled threads cost:

    python -m benchmarks.streams
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.serving import ROOT, command, server
from gpt_agent_fsm import Runtime, Settings, signals
from gpt_agent_fsm.backends import AssistantsBackend

_CLIENTS = ("library", "sdk")


def by_library(base_url: str, streams: int) -> tuple[Callable[[], Iterator[str]], Runtime]:
    """Return a function that starts a conversation and yields the pieces of its answer."""
    runtime = Runtime(AssistantsBackend(base_url, "k"), Settings(streams=streams, workers=16))

    def converse() -> Iterator[str]:
        agent = runtime.start("a")
        yield ""
        yield from agent.stream("Hello", timeout=120)

    return converse, runtime


def by_sdk(base_url: str) -> Callable[[], Iterator[str]]:
    """Return the same for the official SDK."""
    import openai  # noqa: PLC0415 - only this part needs it

    client = openai.OpenAI(api_key="k", base_url=base_url, max_retries=0)

    def converse() -> Iterator[str]:
        thread = client.beta.threads.create()
        yield ""
        client.beta.threads.messages.create(thread.id, role="user", content="Hello")
        for event in client.beta.threads.runs.create(thread_id=thread.id, assistant_id="a", stream=True):
            if event.event == "thread.message.delta":
                yield event.data.delta.content[0].text.value

    return converse


def first_pieces(converse: Callable[[], Iterator[str]], turns: int) -> list[float]:
    """Return, for each of some turns, the seconds until the first piece."""
    found = []
    for _ in range(turns):
        pieces = converse()
        next(pieces)
        began = time.perf_counter()
        next(pieces)
        found.append(time.perf_counter() - began)
        for _ in pieces:
            pass
    return found


def cpu_per_piece(converse: Callable[[], Iterator[str]], conversations: int) -> tuple[float, float, int]:
    """Return the CPU seconds for each piece, the median of the seconds that a piece was on its way, and the pieces."""
    delays: list[float] = []

    def run() -> None:
        for piece in converse():
            now = time.time()
            delays.extend(now - float(sent) for sent in piece.split())

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    threads = [threading.Thread(target=run) for _ in range(conversations)]
    began = cpu()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (cpu() - began) / max(len(delays), 1), statistics.median(delays), len(delays)


def beside_polls(base_url: str, streams: int, polled: int) -> dict[str, float]:
    """Stream some threads and poll many others at the same time. Return the figures."""
    delays: list[float] = []

    def hear(agent: object, *, event: object) -> None:
        delays.extend(time.time() - float(sent) for sent in event.text.split())  # type: ignore[attr-defined]

    settings = Settings(streams=streams, workers=16, heartbeat_interval=2.0)
    with (
        signals.assistant_message_delta.connected_to(hear),
        Runtime(AssistantsBackend(base_url, "k"), settings) as runtime,
    ):
        agents = [runtime.start("a", stream=number < streams) for number in range(streams + polled)]
        began = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_SELF)
        for number, agent in enumerate(agents):
            agent.add_user_message("Hello" if number < streams else "poll")
        for agent in agents:
            agent.wait(timeout=300)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "pieces": len(delays),
        "median_delay": statistics.median(delays),
        "p99_delay": statistics.quantiles(delays, n=100)[98],
        "megabytes": after.ru_maxrss / 1024,
    }


def part(name: str, client: str, base_url: str, options: argparse.Namespace) -> object:
    """Measure one part with one client, in this process."""
    if name == "beside":
        return beside_polls(base_url, options.streams, options.polled)
    with contextlib.ExitStack() as stack:
        if client == "library":
            converse, runtime = by_library(base_url, options.streams)
            stack.enter_context(runtime)
        else:
            converse = by_sdk(base_url)
        for _ in converse():
            pass  # the first conversation loads what is loaded late
        if name == "first":
            return first_pieces(converse, options.turns)
        return cpu_per_piece(converse, options.streams)


def measured(name: str, client: str, base_url: str, options: argparse.Namespace) -> object:
    """Measure one part with one client, in a process of its own."""
    run = command("streams", "--part", name, "--client", client, "--base-url", base_url, "--streams", options.streams)
    run += ["--polled", str(options.polled), "--turns", str(options.turns)]
    done = subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    return json.loads(done.stdout)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--polled", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="how often the two clients take turns")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(options.part, options.client, options.base_url, options)))
        return
    with server("stream_server", 0.2, 0.002, 20, 8) as base_url:
        rounds = [[measured("first", client, base_url, options) for client in _CLIENTS] for _ in range(options.rounds)]
        ours, theirs = (statistics.median(each for pair in rounds for each in pair[place]) for place in (0, 1))
        print(f"first piece: library {1000 * ours:.1f} ms, SDK {1000 * theirs:.1f} ms, ratio {ours / theirs:.2f}")
    with server("stream_server", 0.2, 0.05, 100, 8) as base_url:
        rounds = [[measured("cpu", client, base_url, options) for client in _CLIENTS] for _ in range(options.rounds)]
        for place, client in enumerate(_CLIENTS):
            cpu, delay, pieces = (statistics.median(pair[place][field] for pair in rounds) for field in range(3))
            print(f"{client}: {1e6 * cpu:.0f} us of CPU a piece, {1000 * delay:.1f} ms on its way, {pieces:.0f} pieces")
        ratio = statistics.median(pair[0][0] / pair[1][0] for pair in rounds)
        print(f"CPU per piece: ratio {ratio:.2f}")
    with server("stream_server", 0.5, 0.1, 100, 8) as base_url:
        print(json.dumps(measured("beside", "library", base_url, options)))


if __name__ == "__main__":
    main()
