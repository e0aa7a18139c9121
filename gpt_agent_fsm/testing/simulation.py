"""Whole lives by seed: users, agents, crashes and restarts over a faulty network, in virtual time.

The model. A request lands at once, within the grace after its client gave up on it, or never; the server keeps the
metadata we send; a store keeps what it returned from. `HONEST` faults keep to this, and then nothing may be lost or
done twice. `BREAKING` faults break it on purpose: requests land later than the grace, and metadata is dropped; then
what can not be known must at least be seen as `RequestFailed`.

A seed gives the same life each time; `python -m gpt_agent_fsm.testing.lives` lives many.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.responses import ResponsesBackend
from gpt_agent_fsm.errors import AgentNotAlive, TransientError
from gpt_agent_fsm.ports import Backend, RunStatus, Store
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.dying import DyingStore
from gpt_agent_fsm.testing.network import Crash, Faults, FaultyBackend, FaultyHttp, FaultyNetwork
from gpt_agent_fsm.testing.server import Answer, Call, Fail, Linger, SimulatedServer, Step

__all__ = ["BREAKING", "HONEST", "Life", "Wire", "live"]

Wire: TypeAlias = Literal["assistants", "responses"]

HONEST = Faults()
BREAKING = attrs.evolve(HONEST, late=0.1, grace=300.0)
SETTINGS = Settings(
    heartbeat_interval=1.0,
    idle_timeout=600.0,
    receive_timeout=30.0,
    rate_limit_max_retries=3,
    rate_limit_retry_delay=5.0,
    request_max_attempts=6,
)
_PATIENCE = 20_000.0
"""Seconds of friendly weather in which every thread has to settle."""


@attrs.define
class Life:
    """What happened in one life, and what was wrong with it.

    Attributes:
        journal: every request and its fate, crashes and restarts, in order.
        violations: what must not be; empty for a good life.
        crashes: how often the process died.
        requests: how many requests were made.
    """

    seed: int
    journal: list[str] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    crashes: int = 0
    requests: int = 0

    def report(self) -> str:
        """Return all of it as text: the seed, what was wrong, the journal."""
        return "\n".join([f"seed {self.seed}", *self.violations, "", *self.journal])


@attrs.define
class _Thread:
    """One user's conversation, and what the user knows of it."""

    id: str
    words: list[str]
    accepted: list[str] = attrs.field(factory=list)
    doubtful: list[str] = attrs.field(factory=list)
    """Said when the process died: the user can not know whether it was accepted."""
    heard: list[events.Event] = attrs.field(factory=list)
    agent: Agent | None = None
    """The agent that was last subscribed to."""
    agents: int = 0


class _World:
    """A server, a network, a store and some users; the process between them dies now and then."""

    def __init__(
        self,
        life: Life,
        faults: Faults,
        make_store: Callable[[], Store],
        wrap: Callable[[Backend], Backend],
        *,
        keeps_keys: bool,
        wire: Wire,
    ) -> None:
        self.life = life
        # A look takes up to four requests on that wire, each of which may be lost.
        self.settings = SETTINGS if wire == "assistants" else attrs.evolve(SETTINGS, request_max_attempts=15)
        self.honest = keeps_keys and faults.grace <= SETTINGS.outcome_grace
        self.rng = random.Random(life.seed)  # noqa: S311 - a life must be repeatable
        self.scheduler = VirtualScheduler()
        self.network = FaultyNetwork(self.scheduler, self.rng, faults, life.journal)
        self.store = DyingStore(make_store(), self.rng, faults.crash / 10)
        self.server, backend = self._make_server(wire, keeps_keys=keeps_keys)
        self.backend = wrap(backend)
        self.runtime: Runtime | None = None
        self.threads = [
            _Thread(self.server.create_thread(timeout=1), [f"{n}.{i}" for i in range(self.rng.randint(1, 4))])
            for n in range(self.rng.randint(1, 3))
        ]

    def _make_server(self, wire: Wire, *, keeps_keys: bool) -> tuple[SimulatedServer | SimulatedConversations, Backend]:
        """Return a server of the wire, and a backend that reaches it over the network."""
        page_size = self.rng.choice([2, 3, 100])
        if wire == "assistants":
            runs = SimulatedServer(self._plan, keeps_keys=keeps_keys, page_size=page_size)
            return runs, FaultyBackend(runs, self.network)
        conversations = SimulatedConversations(self._plan, now=self.scheduler.clock.monotonic, rng=self.rng)
        backend = ResponsesBackend(FaultyHttp.base_url, assistants={"asst_1": Assistant("m"), "asst_2": Assistant("n")})
        backend._http = FaultyHttp(conversations, self.network)  # type: ignore[assignment]
        return conversations, backend

    def _plan(self, text: str) -> Sequence[Step]:
        del text
        steps: list[Step] = []
        for _ in range(self.rng.randint(0, 3)):
            asked = [("f", "{}"), ("g", '{"x":1}'), ("h", "{broken")][: self.rng.randint(1, 3)]
            choice: list[Step] = [Linger(self.rng.randint(1, 3)), Call(tuple(asked))]
            steps.append(self.rng.choice(choice))
        limit = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")
        ends: list[Step] = [Answer(f"answer {self.rng.random()}"), Answer(""), Fail(), limit]
        return [*steps, self.rng.choices(ends, [8, 1, 1, 1])[0]]

    # --- the process -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a process: what the store has is resumed, and the users connect again."""
        self.scheduler.restart()
        self.runtime = Runtime(
            self.backend,
            self.settings,
            self.store,
            scheduler=self.scheduler,
            rng=random.Random(self.life.seed),  # noqa: S311
        )
        for thread in self.threads:
            self._connect(thread)

    def _connect(self, thread: _Thread) -> Agent:
        """Return the thread's agent, listening to it from the beginning if it is a new one."""
        assert self.runtime is not None  # noqa: S101 - only called with a process
        agent = self.runtime.get(thread.id)
        while agent is None or agent is not thread.agent:
            with contextlib.suppress(TransientError):  # a user tries again
                agent = thread.agent = self.runtime.connect(
                    thread_id=thread.id,
                    assistant_id="asst_1",
                    last_message_id=None,
                    subscribe=lambda agent, event: self._hear(thread, agent, event),
                    replay_after=0,
                )
                thread.agents += 1
        return agent

    def _hear(self, thread: _Thread, agent: Agent, event: events.Event) -> None:
        thread.heard.append(event)
        if isinstance(event, events.ToolCallRequested) and self.rng.random() < 0.9:
            with contextlib.suppress(AgentNotAlive):
                agent.submit_tool_output(event.id, {"n": len(thread.heard)})

    def survive(self, what: Callable[[], None]) -> bool:
        """Do something; when the process dies of it, note it and begin another. True if it lived."""
        try:
            what()
        except Crash:
            self.life.crashes += 1
            self.life.journal.append(f"{self.scheduler.clock.monotonic():10.3f}  CRASH")
            self.scheduler.sleep(self.rng.choice([0.0, 1.0, 40.0]))
            while not self.survive(self.start):
                pass
            return False
        return True

    # --- the users ----------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Let a user do something, and some time pass."""
        thread = self.rng.choice(self.threads)
        deed = self.rng.random()
        if deed < 0.5 and thread.words:
            self._say(thread, thread.words.pop(0))
        elif deed < 0.55:
            self.survive(lambda: self._connect(thread).cancel_run())
        elif deed < 0.65:
            self._answer_open_calls(thread)
        elif deed < 0.7:
            self.survive(lambda: self._connect(thread).shutdown())
        elif deed < 0.75:
            self.server.start_run_elsewhere(thread.id, *self._plan(""))
        self.survive(lambda: self.scheduler.advance(self.rng.choice([0.1, 1.0, 5.0, 60.0])))

    def _say(self, thread: _Thread, word: str) -> None:
        said: list[str] = []

        def say() -> None:
            self._connect(thread).add_user_message(word)
            said.append(word)

        self.survive(say)
        (thread.accepted if said else thread.doubtful).append(word)
        self.life.journal.append(f"{self.scheduler.clock.monotonic():10.3f}  user says {word!r} in {thread.id}")

    def _answer_open_calls(self, thread: _Thread) -> None:
        """Answer what a handler has left open, as a user does who comes back; a second answer does no harm."""

        def answer() -> None:
            agent = self._connect(thread)
            for event in [event for event in thread.heard if isinstance(event, events.ToolCallRequested)]:
                agent.submit_tool_output(event.id, "late")

        self.survive(answer)

    def settle(self) -> bool:
        """Give every thread friendly weather and its user's answers until nothing is left to do."""
        self.network.calm = self.store.calm = True
        until = self.scheduler.clock.monotonic() + _PATIENCE
        while self.scheduler.clock.monotonic() < until:
            for thread in self.threads:
                self._answer_open_calls(thread)
            self.survive(lambda: self.scheduler.advance(50.0))
            if all(self._is_settled(thread) for thread in self.threads):
                return True
        return False

    def _is_settled(self, thread: _Thread) -> bool:
        saved = self.store.load(thread.id)
        if saved is None or not saved.snapshot.settled or saved.inbox or saved.unannounced:
            return False
        snapshot = saved.snapshot
        if snapshot.queue.doubt is not None and not self.honest:
            # It can not be known whether the message was posted, and the user was told.
            return snapshot.outbox.parked
        return not snapshot.queue and snapshot.outbox.owed is None and snapshot.cursor.reading is None


def live(
    seed: int,
    faults: Faults = HONEST,
    *,
    keeps_keys: bool = True,
    wire: Wire = "assistants",
    make_store: Callable[[], Store] = MemoryStore,
    wrap: Callable[[Backend], Backend] = lambda backend: backend,
) -> Life:
    """Live the life of a seed and return it, with what was wrong in `violations`.

    Args:
        seed: decides about everything.
        faults: of the network; with `HONEST` ones nothing may be lost or done twice.
        keeps_keys: False for a server that drops metadata.
        wire: what the server speaks.
        make_store: gives the store, which outlives the processes.
        wrap: puts something between the library and the network, to break it on purpose.
    """
    life = Life(seed)
    world = _World(life, faults, make_store, wrap, keeps_keys=keeps_keys, wire=wire)
    world.survive(world.start)
    for _ in range(world.rng.randint(5, 25)):
        world.act()
    for thread in world.threads:
        for word in thread.words:
            world._say(thread, word)
    settled = world.settle()
    for thread in world.threads:
        _check(life, world, thread, settled=settled)
    life.requests = sum(": " in line for line in life.journal)
    return life


def _check(life: Life, world: _World, thread: _Thread, *, settled: bool) -> None:
    """Hold what was promised against what came of it."""

    def wrong(sentence: str) -> None:
        life.violations.append(f"{thread.id}: {sentence}")

    if not settled:
        saved = world.store.load(thread.id)
        wrong(f"is stuck: {saved}")
    posted = [m.content for m in world.server.messages(thread.id) if m.role == "user"]
    # On a network that breaks its promises a doubtful send may be lost or doubled, but never in silence.
    strict = world.honest or not any(isinstance(event, events.RequestFailed) for event in thread.heard)
    for word, count in Counter(posted).items():
        if count > 1 and strict:
            wrong(f"message {word!r} is on the server {count} times")
    lost = [word for word in thread.accepted if word not in posted]
    if lost and strict:
        wrong(f"messages {lost} were accepted and are not on the server")
    order = [word for word in dict.fromkeys(posted) if word in thread.accepted]
    if strict and order != [word for word in thread.accepted if word in posted]:
        wrong(f"messages were accepted as {thread.accepted} and posted as {posted}")
    for call, outputs in world.server.outputs(thread.id).items():
        if len(outputs) > 1:
            wrong(f"tool call {call} was answered {len(outputs)} times")
    _check_events(life, world, thread, wrong)


def _check_events(life: Life, world: _World, thread: _Thread, wrong: Callable[[str], None]) -> None:
    records = world.store.history(thread.id)
    happened = [record.event for record in records]
    completed = {event.id for event in happened if isinstance(event, events.RunCompleted)}
    published = Counter(event.message_id for event in happened if isinstance(event, events.AssistantMessageAdded))
    for message in world.server.messages(thread.id):
        if message.role == "assistant" and message.run_id in completed and published[message.id] != 1:
            wrong(f"assistant message {message.id} was published {published[message.id]} times")
    requested = Counter(event.id for event in happened if isinstance(event, events.ToolCallRequested))
    if any(count > 1 for count in requested.values()):
        wrong(f"tool calls were requested more than once: {requested}")
    if [record.seq for record in records] != list(range(1, len(records) + 1)):
        wrong("the history has gaps")
    missing = [event for event in happened if event not in thread.heard]
    if missing:
        wrong(f"was never told {missing[0]}")
    told = [event for event in thread.heard if not isinstance(event, events.AgentStopped)]
    if thread.agents == 1 and told != happened:
        wrong("was told something twice, or out of order, without a crash")
    spent = [event for event in happened if isinstance(event, events.RequestFailed) and event.operation != "get_run"]
    if any(event.attempt > world.settings.request_max_attempts for event in spent):
        wrong("tried a request more often than it may")
