"""A server, a network, a store, a process and some users."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.responses import ResponsesBackend
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.crashing import CrashingStore
from gpt_agent_fsm.testing.network import Faults, FaultyBackend, FaultyHttp, FaultyNetwork
from gpt_agent_fsm.testing.server import SimulatedServer
from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.plans import random_plan
from gpt_agent_fsm.testing.simulation.process import Process
from gpt_agent_fsm.testing.simulation.settled import is_settled
from gpt_agent_fsm.testing.simulation.users import User

__all__ = ["BREAKING", "HONEST", "Wire", "World"]

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
"""Seconds without faults in which every thread must settle."""


class World:
    """Everything that one life needs. The seed of the life decides its events.

    Args:
        wrap: wraps the backend.
        keeps_keys: False for a server that drops metadata.
    """

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
        # With the Responses API a search takes up to four requests, and each may be lost.
        self._settings = SETTINGS if wire == "assistants" else attrs.evolve(SETTINGS, request_max_attempts=15)
        self._honest = keeps_keys and faults.grace <= SETTINGS.outcome_grace
        self._rng = rng = random.Random(life.seed)  # noqa: S311 - a life must be repeatable
        self._scheduler = VirtualScheduler()
        self._network = FaultyNetwork(self._scheduler, rng, faults, life.journal)
        self._store = CrashingStore(make_store(), rng, faults.crash / 10)
        self._server, backend = self._make_server(wire, keeps_keys=keeps_keys)
        self._process = Process(life, wrap(backend), self._settings, self._store, self._scheduler, rng)
        self.users = [self._make_user(number) for number in range(rng.randint(1, 3))]

    def _make_server(self, wire: Wire, *, keeps_keys: bool) -> tuple[SimulatedServer | SimulatedConversations, Backend]:
        """Return a server of the API, and a backend that reaches the server through the faulty network."""
        page_size = self._rng.choice([2, 3, 100])
        if wire == "assistants":
            runs = SimulatedServer(lambda _: random_plan(self._rng), keeps_keys=keeps_keys, page_size=page_size)
            return runs, FaultyBackend(runs, self._network)
        conversations = SimulatedConversations(
            lambda _: random_plan(self._rng), now=self._scheduler.clock.monotonic, rng=self._rng
        )
        backend = ResponsesBackend(FaultyHttp.base_url, assistants={"asst_1": Assistant("m"), "asst_2": Assistant("n")})
        backend._http = FaultyHttp(conversations, self._network)  # type: ignore[assignment]
        return conversations, backend

    def _make_user(self, number: int) -> User:
        """Return a user with one to four messages, who connects whenever a process starts."""
        thread_id = self._server.create_thread(timeout=1)
        words = [f"{number}.{i}" for i in range(self._rng.randint(1, 4))]
        user = User(thread_id, words, self._process, self._rng)
        self._process.on_start.append(user.connect)
        return user

    def run(self) -> bool:
        """Run from the first process until every thread is settled or time is over; return False if time is over."""
        self._process.survive(self._process.start)
        for _ in range(self._rng.randint(5, 25)):
            self._act()
        for user in self.users:
            while user.words:
                user.say_next()
        return self._settle()

    def _act(self) -> None:
        """Let a user act and some time pass."""
        user = self._rng.choice(self.users)
        action = self._rng.random()
        if action < 0.5 and user.words:
            user.say_next()
        elif action < 0.55:
            user.cancel_run()
        elif action < 0.65:
            user.answer_open_calls()
        elif action < 0.7:
            user.shut_down()
        elif action < 0.75:
            self._server.start_run_elsewhere(user.thread_id, *random_plan(self._rng))
        self._process.advance(self._rng.choice([0.1, 1.0, 5.0, 60.0]))

    def _settle(self) -> bool:
        """Switch the faults off and let users answer until every thread is settled. Return False if time runs out."""
        self._network.faults_off = self._store.faults_off = True
        until = self._scheduler.clock.monotonic() + _PATIENCE
        while self._scheduler.clock.monotonic() < until:
            for user in self.users:
                user.answer_open_calls()
            self._process.advance(50.0)
            if all(is_settled(self._store.load(user.thread_id), honest=self._honest) for user in self.users):
                return True
        return False

    def facts(self, user: User, *, settled: bool) -> Facts:
        """Return the facts about a user's thread."""
        was_told = any(isinstance(event, events.RequestFailed) for event in user.heard)
        return Facts(
            settled=settled,
            strict=self._honest or not was_told,
            saved=self._store.load(user.thread_id),
            accepted=tuple(user.accepted),
            messages=tuple(self._server.messages(user.thread_id)),
            outputs={call_id: tuple(given) for call_id, given in self._server.outputs(user.thread_id).items()},
            records=tuple(self._store.history(user.thread_id)),
            heard=tuple(user.heard),
            agents=user.agents,
            max_attempts=self._settings.request_max_attempts,
        )
