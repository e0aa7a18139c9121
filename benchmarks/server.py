"""The embedded server under load: many clients at once hold conversations with tools, over real HTTP.

The server and the clients run in separate processes. Each client holds one conversation after another: a message, a
run that calls a tool, its output, the answer. Prints the number of lost conversations, requests per second, latencies,
and the memory of the server:

    python -m benchmarks.server --clients 64 --conversations 2000
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import requests

from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall

PAUSE = 0.02
"""Seconds between two polls of a run."""


def model(request: ModelRequest) -> str | list[ToolCall]:
    return f"It is {request.outputs[0]}" if request.outputs else [ToolCall("measure", {"of": request.user_message})]


def serve(pipe: multiprocessing.connection.Connection, database: str | None) -> None:
    with LocalServer(model, database=database) as server:
        pipe.send(server.base_url)
        pipe.recv()


class Client:
    """A client that holds conversations and measures the time of each request."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.times: list[float] = []
        self.session = requests.Session()
        self.session.headers["OpenAI-Beta"] = "assistants=v2"

    def ask(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        started = time.perf_counter()
        answer = self.session.request(method, self.base_url + path, json=body, timeout=60)
        self.times.append(time.perf_counter() - started)
        answer.raise_for_status()
        return answer.json()

    def until(self, path: str, *statuses: str) -> Any:  # noqa: ANN401 - JSON
        while True:
            seen = self.ask("GET", path)
            if seen["status"] in statuses:
                return seen
            time.sleep(PAUSE)

    def over_runs(self, number: int) -> bool:
        thread = f"/threads/{self.ask('POST', '/threads', {})['id']}"
        self.ask("POST", f"{thread}/messages", {"role": "user", "content": f"question {number}"})
        run = f"{thread}/runs/{self.ask('POST', f'{thread}/runs', {'assistant_id': 'asst_1'})['id']}"
        calls = self.until(run, "requires_action", "failed")["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": str(number)} for call in calls]
        self.ask("POST", f"{run}/submit_tool_outputs", {"tool_outputs": outputs})
        self.until(run, "completed", "failed")
        newest = self.ask("GET", f"{thread}/messages?limit=1")["data"][0]
        return bool(newest["content"][0]["text"]["value"] == f"It is {number}")

    def over_responses(self, number: int) -> bool:
        conversation = self.ask("POST", "/conversations", {})["id"]
        about = {"model": "m", "conversation": conversation, "background": True}
        first = self.ask("POST", "/responses", {**about, "input": f"question {number}"})
        calls = self.until(f"/responses/{first['id']}", "completed", "failed")["output"]
        outputs = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": str(number)} for call in calls
        ]
        second = self.ask("POST", "/responses", {**about, "input": outputs})
        self.until(f"/responses/{second['id']}", "completed", "failed")
        newest = self.ask("GET", f"/conversations/{conversation}/items?limit=1")["data"][0]
        return bool(newest["content"][0]["text"] == f"It is {number}")


def converse(
    base_url: str, wire: str, threads: int, numbers: list[int], pipe: multiprocessing.connection.Connection
) -> None:
    """Hold the conversations of one process in several OS threads; send the number of successes and the times."""
    waiting, kept, lock = list(numbers), [], threading.Lock()
    clients = [Client(base_url) for _ in range(threads)]

    def work(client: Client) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                number = waiting.pop()
            if (client.over_runs if wire == "assistants" else client.over_responses)(number):
                with lock:
                    kept.append(number)

    workers = [threading.Thread(target=work, args=(client,)) for client in clients]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    pipe.send((len(kept), [seconds for client in clients for seconds in client.times]))


def memory_of(pid: int) -> float:
    """Return the peak memory of a process in MB; 0 if the system does not report it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def measure(wire: str, clients: int, conversations: int, processes: int, database: str | None) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, database))
    server.start()
    base_url = ours.recv()
    pipes, workers = [], []
    started = time.perf_counter()
    for process in range(processes):
        here, there = context.Pipe()
        numbers = list(range(process, conversations, processes))
        workers.append(context.Process(target=converse, args=(base_url, wire, clients // processes, numbers, there)))
        pipes.append(here)
        workers[-1].start()
    results = [pipe.recv() for pipe in pipes]
    seconds = time.perf_counter() - started
    times = sorted(one for _, some in results for one in some)
    lost = conversations - sum(kept for kept, _ in results)
    print(
        f"{wire}: {conversations} conversations, {lost} lost, {len(times)} requests in {seconds:.1f} s: "
        f"{len(times) / seconds:.0f} a second, median {statistics.median(times) * 1000:.0f} ms, "
        f"p99 {times[int(len(times) * 0.99)] * 1000:.0f} ms, {memory_of(server.pid or 0):.0f} MB"
    )
    ours.send("stop")
    server.join()
    for worker in workers:
        worker.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--conversations", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4, help="number of client processes")
    parser.add_argument("--database", help="a file; in memory if left out")
    options = parser.parse_args()
    for wire in ("assistants", "responses"):
        measure(wire, options.clients, options.conversations, options.processes, options.database)


if __name__ == "__main__":
    main()
