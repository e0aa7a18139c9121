"""Turns: this library beside the official SDK and a hand-written loop, on one small server in a process of its own.

A turn is a message, a run, some polls without a pause, and the list of the new messages. Prints the CPU time of the
client for each turn, as medians of rounds in which the clients take turns:

    python benchmarks/turns.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from streams import server

from gpt_agent_fsm import Agent, Runtime, Settings, events
from gpt_agent_fsm.backends import AssistantsBackend

_TEXT = "poll"  # the server completes the run of this message after some polls
_ACTIVE = ("queued", "in_progress")


def check(messages: object) -> None:
    """Raise an error if there is no message."""
    if not messages:
        raise RuntimeError("the answer is missing")


def by_hand(base_url: str, turns: int) -> Callable[[], None]:
    """Return a function that holds a conversation with prepared requests, sent by the adapter of `requests`."""
    local = threading.local()

    def call(method: str, path: str, body: object = None) -> dict[str, object]:
        if not hasattr(local, "adapter"):
            local.adapter, local.ready = requests.adapters.HTTPAdapter(), {}
        prepared = local.ready.get(path) if body is None else None
        if prepared is None:
            prepared = requests.Request(method, base_url + path, json=body).prepare()
            local.ready = {path: prepared} if body is None else local.ready
        answer = local.adapter.send(prepared, timeout=60)
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    def converse() -> None:
        thread = f"/threads/{call('POST', '/threads', {})['id']}"
        for _ in range(turns):
            call("POST", f"{thread}/messages", {"role": "user", "content": _TEXT})
            run = call("POST", f"{thread}/runs", {"assistant_id": "a"})
            where = f"{thread}/runs/{run['id']}"
            while run["status"] in _ACTIVE:
                run = call("GET", where)
            check(call("GET", f"{thread}/messages")["data"])

    return converse


def by_sdk(base_url: str, turns: int) -> Callable[[], None]:
    """Return the same for the official SDK."""
    import openai  # noqa: PLC0415 - only this part needs it

    client = openai.OpenAI(api_key="k", base_url=base_url, max_retries=0)
    threads = client.beta.threads

    def converse() -> None:
        thread = threads.create().id
        for _ in range(turns):
            threads.messages.create(thread, role="user", content=_TEXT)
            run = threads.runs.create(thread_id=thread, assistant_id="a")
            while run.status in _ACTIVE:
                run = threads.runs.retrieve(run.id, thread_id=thread)
            check(list(threads.messages.list(thread)))

    return converse


def by_library(base_url: str, turns: int, *, waits: bool) -> Callable[[], None]:
    """Return the same for this library, either with `ask` or with an event handler that sends the next message."""
    runtime = Runtime(AssistantsBackend(base_url, "k"), Settings(heartbeat_interval=1e-9))

    def by_asking() -> None:
        agent = runtime.start("a")
        for _ in range(turns):
            check(agent.ask(_TEXT).messages)

    def by_handling() -> None:
        over, left = threading.Event(), [turns]

        def handle(agent: Agent, event: events.Event) -> None:
            if isinstance(event, events.AssistantMessageAdded):
                left[0] -= 1
                if left[0]:
                    agent.add_user_message(_TEXT)
                else:
                    over.set()

        runtime.start("a", subscribe=handle).add_user_message(_TEXT)
        over.wait()

    return by_asking if waits else by_handling


CLIENTS: dict[str, Callable[[str, int], Callable[[], None]]] = {
    "official SDK": by_sdk,
    "prepared requests, by hand": by_hand,
    "library, `ask`": lambda base_url, turns: by_library(base_url, turns, waits=True),
    "library, handlers": lambda base_url, turns: by_library(base_url, turns, waits=False),
}


def cpu_per_turn(name: str, base_url: str, conversations: int, turns: int) -> float:
    """Return the CPU seconds for each turn, in this process. 16 OS threads hold the conversations."""
    converse = CLIENTS[name](base_url, turns)
    converse()  # the first conversation loads what is loaded late
    before = time.process_time()
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(converse) for _ in range(conversations)]:
            done.result()
    return (time.process_time() - before) / (conversations * turns)


def measured(name: str, base_url: str, options: argparse.Namespace) -> float:
    """Measure one client in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--client", name, "--base-url", base_url]
    command += ["--conversations", str(options.conversations), "--turns", str(options.turns)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)  # noqa: S603 - our own


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=50)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--polls", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(cpu_per_turn(options.client, options.base_url, options.conversations, options.turns))
        return
    with server(0.0, 0.0, 0, options.polls) as base_url:
        rounds = [{name: measured(name, base_url, options) for name in CLIENTS} for _ in range(options.rounds)]
    sdk = next(iter(CLIENTS))
    print(f"| {options.polls} polls a turn | CPU for each turn | of the SDK's |\n|---|---|---|")
    for name in CLIENTS:
        ratio = statistics.median(each[name] / each[sdk] for each in rounds)
        print(f"| {name} | {1e3 * statistics.median(each[name] for each in rounds):.1f} ms | {ratio:.2f} |")


if __name__ == "__main__":
    main()
