"""How the cost of one step grows with what came before: `python -m benchmarks growth`.

Each step is measured beside 100, 1,000 and 10,000 earlier things. The exponent is the slope of a line through the
logarithms: 0 means that the step costs the same at each size, and 1 that it costs ten times as much at ten times the
size. A server in memory and virtual time are used, so no wait is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from benchmarks.summary import conditions, write_into_page
from gpt_agent_fsm import Agent, Runtime, Settings, events, tool
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import MessagePage, Store
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import Answer, Call, Linger, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.steps import Planner, Step
from gpt_agent_fsm.tools import Tool

SIZES = (100, 1_000, 10_000)
_STEPS, _BATCHES = 10, 5
_FOREVER = 10**9
_TEXT = "What is the weather in Paris? " * 3
_SECRET = "whsec_" + "c2VjcmV0" * 4

Measure: TypeAlias = Callable[[int, Store], float]


class Server(SimulatedServer):
    """A server in memory that counts the requests for messages, and the CPU seconds that it needs for them."""

    def __init__(self, plan: Planner) -> None:
        super().__init__(plan)
        self.pages, self.seconds = 0, 0.0

    def list_messages(self, *args: Any, **kwargs: Any) -> MessagePage:  # noqa: ANN401 - as its base class
        self.pages += 1
        before = time.thread_time()
        page = super().list_messages(*args, **kwargs)
        self.seconds += time.thread_time() - before
        return page


@attrs.frozen
class Thread:
    """A thread on a server in memory, with everything that drives it."""

    server: Server
    scheduler: VirtualScheduler
    runtime: Runtime
    agent: Agent

    @classmethod
    def of(
        cls,
        plan: Planner,
        store: Store,
        messages: int = 0,
        heard: list[events.Event] | None = None,
        tools: Sequence[Tool[..., Any]] = (),
    ) -> Thread:
        """Return a new thread that has some messages of the user before an agent connects to it."""
        server, scheduler = Server(plan), VirtualScheduler()
        runtime = Runtime(server, Settings(idle_timeout=1e9), store, scheduler=scheduler, tools=tools)
        thread_id = runtime.create_thread()
        for number in range(messages):
            server.post_message(thread_id, _TEXT, key=str(number), timeout=1)
        agent = runtime.connect(
            thread_id=thread_id,
            assistant_id="asst_1",
            last_message_id=None,
            subscribe=None if heard is None else lambda _, event: heard.append(event),
        )
        return cls(server, scheduler, runtime, agent)


def seconds_of(step: Callable[[], object]) -> float:
    """Return the CPU seconds of one step: the smallest mean of some batches, because noise only adds to it."""
    means = []
    for _ in range(_BATCHES):
        before = time.thread_time()
        for _ in range(_STEPS):
            step()
        means.append((time.thread_time() - before) / _STEPS)
    return min(means)


# --- the steps ------------------------------------------------------------------------------------------


def queueing(size: int, store: Store) -> float:
    """Add one more message while this many messages are queued."""
    thread = Thread.of(lambda _: [Linger(_FOREVER)], store)
    _queue(thread, size)

    def step() -> None:
        thread.agent.add_user_message(_TEXT)
        thread.scheduler.settle()

    return seconds_of(step)


def answering(size: int, store: Store) -> float:
    """Send one message and get its answer while this many other messages are queued."""
    heard: list[events.Event] = []
    thread = Thread.of(lambda _: [Answer("Sunny")], store, heard=heard)
    _queue(thread, size)

    def step() -> None:
        heard.clear()
        while not any(isinstance(event, events.AssistantMessageAdded) for event in heard):
            thread.scheduler.advance(1.0)

    return seconds_of(step)


def _queue(thread: Thread, size: int) -> None:
    for _ in range(size):
        thread.agent.add_user_message(_TEXT)


def submitting(size: int, store: Store) -> float:
    """Submit one output while a run waits for the outputs of this many calls."""
    return seconds_of(submitter(size, store))


def submitter(size: int, store: Store) -> Callable[[], None]:
    """Return a function that submits the next output of a run that waits for this many."""
    heard: list[events.Event] = []
    plan: list[Step] = [Call((("weather", '{"city": "Paris"}'),) * size)]
    thread = Thread.of(lambda _: list(plan), store, heard=heard)
    thread.agent.add_user_message(_TEXT)
    thread.scheduler.advance(5.0)
    calls = iter([event.id for event in heard if isinstance(event, events.ToolCallRequested)])

    def step() -> None:
        thread.agent.submit_tool_output(next(calls), "Sunny")
        thread.scheduler.settle()

    return step


def calling(size: int, store: Store) -> float:
    """Answer this many calls of one round by a function. Return the cost of one of them."""
    plan: list[Step] = [Call((("weather", '{"city": "Paris"}'),) * size), Answer("Sunny")]
    thread = Thread.of(lambda _: list(plan), store, tools=[weather])
    before = time.thread_time()
    thread.agent.add_user_message(_TEXT)
    thread.agent.wait()
    return (time.thread_time() - before) / size


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}"


def ending_silently(size: int, store: Store) -> float:
    """Count the requests for messages of a run without a message, on a thread with this many messages."""
    thread = Thread.of(lambda _: [Answer("")], store, messages=size)
    return _pages_of_a_turn(thread)


def ending_silently_again(size: int, store: Store) -> float:
    """Count the same for the next such run of this agent."""
    thread = Thread.of(lambda _: [Answer("")], store, messages=size)
    _pages_of_a_turn(thread)
    return _pages_of_a_turn(thread)


def ending_silently_after_an_answer(size: int, store: Store) -> float:
    """Count the same if an earlier run has answered, so that there is a cursor."""
    answers = iter(("Sunny", "", ""))
    thread = Thread.of(lambda _: [Answer(next(answers))], store, messages=size)
    _pages_of_a_turn(thread)
    return _pages_of_a_turn(thread)


def reading(size: int, store: Store) -> float:
    """Read a thread with this many messages after such a run. Return the cost of each request for messages."""
    thread = Thread.of(lambda _: [Answer("")], store, messages=size)
    before = time.thread_time()
    pages = _pages_of_a_turn(thread)
    return (time.thread_time() - before - thread.server.seconds) / pages


def _pages_of_a_turn(thread: Thread) -> int:
    before = thread.server.pages
    thread.agent.add_user_message(_TEXT)
    thread.agent.wait()
    return thread.server.pages - before


def waking(size: int, store: Store) -> float:
    """Handle a webhook, and poll its run, while this many agents have runs in progress."""
    from standardwebhooks import Webhook  # noqa: PLC0415 - an extra

    thread = Thread.of(lambda _: [Linger(_FOREVER)], store)
    agents = [thread.runtime.start("asst_1") for _ in range(size)]
    for agent in agents:
        agent.add_user_message(_TEXT)
    thread.scheduler.settle()
    body = json.dumps({"type": "response.completed", "data": {"id": agents[size // 2].run_id}})
    now, signer, numbers = datetime.now(UTC), Webhook(_SECRET), iter(range(_FOREVER))

    def step() -> None:
        number = f"webhook_{next(numbers)}"
        headers = {"webhook-id": number, "webhook-timestamp": str(int(now.timestamp()))}
        headers["webhook-signature"] = signer.sign(number, now, body)
        if not thread.runtime.handle_webhook(headers, body, _SECRET):
            raise RuntimeError("the webhook woke no agent")
        thread.scheduler.settle()

    return seconds_of(step)


def reading_the_end(size: int, store: Store) -> float:
    """Read the last 100 of this many records."""
    _record(store, size, Snapshot(thread_id="thread_1", assistant_id="asst_1"))
    return seconds_of(lambda: store.history("thread_1", size - 100))


def reading_one_page(size: int, store: Store) -> float:
    """Read only the first 100 of this many records, as the first page of a list."""
    _record(store, size, Snapshot(thread_id="thread_1", assistant_id="asst_1"))
    return seconds_of(lambda: list(store.history_page("thread_1", after=0, limit=100)))


def replaying(size: int, store: Store) -> float:
    """Replay this many records to a new subscriber. Return the cost of one of them."""
    server, scheduler = Server(lambda _: [Answer("Sunny")]), VirtualScheduler()
    thread_id = server.create_thread(timeout=1)
    _record(store, size, Snapshot(thread_id=thread_id, assistant_id="asst_1"))
    runtime = Runtime(server, Settings(), store, scheduler=scheduler)
    heard: list[events.Event] = []
    before = time.thread_time()
    runtime.connect(
        thread_id=thread_id,
        assistant_id="asst_1",
        last_message_id=None,
        subscribe=lambda _, event: heard.append(event),
        replay_after=0,
    )
    scheduler.settle()
    if len(heard) != size:
        raise RuntimeError(f"{len(heard)} of {size} records were replayed")
    return (time.thread_time() - before) / size


def _record(store: Store, size: int, snapshot: Snapshot) -> None:
    """Save this many records."""
    event = events.RunStarted(id="run_1", thread_id=snapshot.thread_id, assistant_id="asst_1")
    for start in range(0, size, 100):
        store.commit(snapshot, consumed=0, events=[event] * min(100, size - start), at=1.0, due=None)
    store.announced(snapshot.thread_id, size)


# --- the table ------------------------------------------------------------------------------------------


@attrs.frozen
class Growing:
    """A step to measure.

    Attributes:
        name: the step, and the things whose number grows.
        measure: measures one step at a size.
        durable: True if the step is also measured with a SQLite file.
        unit: the unit of the result; None for a count.
    """

    name: str
    measure: Measure
    durable: bool = False
    unit: str | None = "µs"


STEPS = (
    Growing("add a message, among queued messages", queueing, durable=True),
    Growing("a turn, before queued messages", answering, durable=True),
    Growing("submit an output, among parallel calls", submitting, durable=True),
    Growing("call a function, among parallel calls", calling, durable=True),
    Growing("requests after a run without a message, by messages", ending_silently, unit=None),
    Growing("requests after the next such run, by messages", ending_silently_again, unit=None),
    Growing("requests after such a run with a cursor, by messages", ending_silently_after_an_answer, unit=None),
    Growing("CPU of each of these requests without a cursor", reading, durable=True),
    Growing("a webhook and its poll, among agents", waking),
    Growing("the last 100 records, among records", reading_the_end, durable=True),
    Growing("the first 100 records, among records", reading_one_page, durable=True),
    Growing("replay a record, among records", replaying, durable=True),
)


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Return the slope of the line through the logarithms of the costs."""
    line = statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(max(cost, 1e-9)) for cost in costs]
    )
    return line.slope


@contextlib.contextmanager
def new_store(*, durable: bool) -> Iterator[Store]:
    """Yield an empty store."""
    if not durable:
        yield MemoryStore()
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = SQLStore(f"sqlite:///{Path(folder).resolve()}/growth.db")
        yield store
        store.close()


def row_of(step: Growing, sizes: Sequence[int], *, durable: bool) -> str:
    """Measure a step, and return its row of the table."""
    costs = []
    for size in (sizes[0], *sizes):  # the first measurement loads what is loaded late
        with new_store(durable=durable) as store:
            costs.append(step.measure(size, store))
    del costs[0]
    shown = [f"{cost:.0f}" if step.unit is None else f"{1e6 * cost:.0f} {step.unit}" for cost in costs]
    where = "SQLite" if durable else "memory"
    return f"| {step.name} | {where} | {' | '.join(shown)} | {exponent(sizes, costs):.2f} |"


def main(arguments: Sequence[str]) -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", default="", help="measure only the steps whose names contain this text")
    parser.add_argument("--docs", action="store_true", help="also write the table into the page of the documentation")
    options = parser.parse_args(arguments)
    rows = [f"| step | store | {' | '.join(f'{size:,}' for size in options.sizes)} | exponent |"]
    rows.append(f"|---|---|{'---|' * len(options.sizes)}---|")
    print(*rows, sep="\n")
    for step in STEPS:
        for durable in (False, True)[: 1 + step.durable]:
            if options.only in step.name:
                rows.append(row_of(step, options.sizes, durable=durable))
                print(rows[-1], flush=True)
    if options.docs:
        write_into_page("growth", "\n".join([f"{textwrap.fill(conditions(), 120)}\n", *rows]) + "\n")
