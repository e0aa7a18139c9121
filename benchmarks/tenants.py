"""Fairness: how long a customer with one conversation waits beside a customer with hundreds.

    python -m benchmarks.tenants

All requests are made with one API key, at a limited pace. The large customer sends a message in each of its
conversations at once. A second later, the small customer asks in its only conversation. The seconds until its answer
are measured in three cases: the small customer is alone, both have the same tenant, and each has its own.
"""

from __future__ import annotations

import argparse
import contextlib
import time

import attrs

from benchmarks.clients import ASSISTANT, assistants_backend, check
from benchmarks.cluster import SETTINGS, add, workers_of
from benchmarks.serving import server
from benchmarks.turn_server import TEXT
from gpt_agent_fsm import Runtime
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.ports import Store
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing.postgresql import a_postgresql

_HEAD_START = 1.0
_MESSAGE = TEXT.format(1)


def wait_beside(count: int, tenant: str, url: str | None, base_url: str, pace: float) -> tuple[float, float]:
    """Return the seconds until the small customer has its answer, and until the large one has all of its own.

    Args:
        base_url: the server.
        count: how many conversations the large customer has.
        tenant: the tenant of the small customer. That of the large one is "large".
        url: the database of a cluster with two workers; None for one process without a database.
        pace: the number of requests in a minute.
    """
    with contextlib.ExitStack() as stack:
        store: Store = MemoryStore() if url is None else Cluster(url)
        settings = attrs.evolve(SETTINGS, requests_per_minute=None if url else pace)
        runtime = stack.enter_context(
            Runtime(assistants_backend(base_url), settings, store, tools=[] if url else [add])
        )
        if url is not None:
            stack.enter_context(workers_of(url, base_url, 2, pace=pace))
        large = [runtime.start(ASSISTANT, tenant="large") for _ in range(count)]
        small = runtime.start(ASSISTANT, tenant=tenant)
        began = time.monotonic()
        for agent in large:
            agent.add_user_message(_MESSAGE)
        time.sleep(_HEAD_START)
        asked = time.monotonic()
        check(small.ask(_MESSAGE, timeout=600).text)
        answered = time.monotonic() - asked
        for agent in large:
            agent.wait(timeout=600)
        return answered, time.monotonic() - began


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tenants")
    parser.add_argument("--conversations", type=int, default=60, help="of the large customer (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=1500, help="requests in a minute (default: %(default)s)")
    options = parser.parse_args()
    cases = {"alone": (0, "small"), "both have one tenant": (options.conversations, "large")}
    cases["each has a tenant"] = (options.conversations, "small")
    print("| | the small customer waits | the large one has all answers after |\n|---|---|---|")
    with a_postgresql() as database, server("turn_server") as base_url:
        for place in ("one process", "two workers"):
            for case, (count, tenant) in cases.items():
                url = database.new_schema() if place == "two workers" else None
                small, large = wait_beside(count, tenant, url, base_url, options.pace)
                print(f"| {place}, {case} | {small:.2f} s | {f'{large:.1f} s' if count else ''} |", flush=True)


if __name__ == "__main__":
    main()
