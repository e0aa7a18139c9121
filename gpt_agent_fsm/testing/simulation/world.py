"""The world of one life: a server, a network, a store, a process and some users."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine.commands import Connect
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import CrashingStore
from gpt_agent_fsm.testing.network import Faults, FaultyNetwork
from gpt_agent_fsm.testing.simulation.cluster import (
    ClusterProcesses,
    ClusterStore,
    MemoryTables,
    NestingScheduler,
    NodeFaults,
)
from gpt_agent_fsm.testing.simulation.equipment import BARE, PLENTY, Equipment
from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.functions import Functions
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.pictures import Pictures
from gpt_agent_fsm.testing.simulation.plans import random_plan, random_round, with_trouble
from gpt_agent_fsm.testing.simulation.process import Process
from gpt_agent_fsm.testing.simulation.servers import make_server
from gpt_agent_fsm.testing.simulation.settled import (
    has_said_so,
    is_at_rest,
    is_parked,
    is_settled,
    is_stopped_by_limit,
    was_told_to_wait,
)
from gpt_agent_fsm.testing.simulation.troubles import NONE, Troubles, Wire
from gpt_agent_fsm.testing.simulation.users import User
from gpt_agent_fsm.testing.steps import Step

__all__ = ["BREAKING", "HONEST", "Wire", "World"]

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
"""The number of seconds without faults within which every thread must settle."""
_LONGEST_PAUSE = 120.0
_UNTIL_OWNERS_READ = 60.0
"""The number of seconds after which every owner has read the last commands, even if offers and news were lost."""
_UNTIL_HANDLES_READ = 15.0
"""The number of seconds after which every handle has read the last records, even if their news was lost."""
_MAX_LINES = 10_000
"""If a thread has not come to rest after this number of lines of the journal, it never will."""


class World:
    """Everything that one life needs. The seed of the life decides its events.

    Args:
        wrap: a function that wraps the backend.
        keeps_keys: False for a server that drops metadata.
        troubles: the unusual circumstances of this life.
        equipment: the functions, limits and streams of this life.
        cluster: True if several processes share the store.
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
        troubles: Troubles,
        equipment: Equipment = BARE,
        cluster: bool = False,
    ) -> None:
        self._life = life
        self._wire = wire
        self._troubles = troubles
        self._equipment = equipment
        self._fate = random.Random(f"fate {life.seed}")  # noqa: S311 - decides when the troubles happen
        self._settings = _settings(wire, troubles, equipment)
        self._honest = keeps_keys and faults.grace <= SETTINGS.outcome_grace
        self._rng = rng = random.Random(life.seed)  # noqa: S311 - a life must be repeatable
        self._scheduler = NestingScheduler() if cluster else VirtualScheduler()
        self._network = self._make_network(faults)
        self._store = self._make_store(make_store, faults.crash / 10)
        self._corrections = random.Random(f"corrections {life.seed}")  # noqa: S311 - decides what follows a discard
        self._notes = random.Random(f"notes {life.seed}")  # noqa: S311 - decides which processes leave notes
        own = random.Random(f"functions {life.seed}")  # noqa: S311 - decides what happens in functions
        self._functions = Functions(self._scheduler, own, equipment.kills, self._store.history, self._disturb)
        self._server, make_backend = make_server(
            wire,
            troubles,
            self._network,
            self._scheduler,
            rng,
            self._plan,
            keeps_keys=keeps_keys,
            has_streams=equipment.streams is not None,
        )
        self._process = self._make_process(lambda sender: wrap(make_backend(sender)))
        self._process.on_start.append(self._decide_about_notes)
        self._rested: set[str] = set()
        self._lists_runs = wire == "assistants"
        self._dropped_at: int | None = None
        """How many messages had been posted and runs created when the users dropped everything."""
        self._beyond_limit: list[tuple[str, str]] = []
        """Threads, each with a request that was sent although the thread's token limit was reached."""
        self._pictures = Pictures(life.seed, wire)
        self.users: list[User] = [self._make_user(number) for number in range(rng.randint(1, 3))]

    def _make_store(self, make_store: Callable[[], Store], crashes: float) -> CrashingStore | ClusterStore:
        if isinstance(self._scheduler, NestingScheduler):
            return ClusterStore(MemoryTables(self._scheduler.clock), NodeFaults(self._rng, crashes))
        return CrashingStore(make_store(), self._rng, crashes)

    def _make_process(self, make_backend: Callable[[Any], Backend]) -> Process | ClusterProcesses:
        tools = self._functions.tools if self._equipment.functions else ()
        if isinstance(self._store, ClusterStore):
            assert isinstance(self._scheduler, NestingScheduler)  # noqa: S101 - see `_make_store`
            own = (self._life, make_backend, self._settings, self._store, self._scheduler, self._rng)
            return ClusterProcesses(*own, on_sent=self._disturb, tools=tools)
        shared = (self._life, make_backend, self._settings, self._store, self._scheduler, self._rng)
        return Process(*shared, on_sent=self._disturb, tools=tools)

    def _decide_about_notes(self) -> None:
        self._store.ends_with_process = self._notes.random() < self._equipment.leaves_notes

    def _make_network(self, faults: Faults) -> FaultyNetwork:
        faults = attrs.evolve(faults, gateway=self._troubles.gateway, slow=self._troubles.slow)
        network = FaultyNetwork(self._scheduler, self._rng, faults, self._life.journal)
        network.outages = self._troubles.outages
        network.acts_first = isinstance(self._scheduler, NestingScheduler)
        network.before_change = self._maybe_take_over
        network.on_start = self._check_budget
        return network

    def _make_user(self, number: int) -> User:
        """Return a user with one to four messages, who connects whenever a process starts."""
        thread_id = self._server.create_thread(timeout=1)
        words = [f"{number}.{i}" for i in range(self._rng.randint(1, 4))]
        user = User(thread_id, words, self._process, self._rng, self._pictures, self._equipment)
        self._process.on_start.append(user.connect)
        return user

    def _plan(self) -> Sequence[Step]:
        plan = self._random_plan()
        return with_trouble(plan, self._fate, self._troubles.asks) if self._happens(self._troubles.stuck) else plan

    def _random_plan(self) -> Sequence[Step]:
        if not self._equipment.needs_decisions:
            return random_plan(self._rng)
        return random_plan(self._rng, lambda rng: random_round(rng, self._equipment, self._wire))

    # --- troubles -----------------------------------------------------------------------------------------

    def _happens(self, likely: float) -> bool:
        return likely > 0 and not self._network.faults_off and self._fate.random() < likely

    def _maybe_take_over(self) -> None:
        if self._happens(self._troubles.takeover / 5):
            self._process.take_over()

    def _disturb(self) -> None:
        """Stop the process for a while, or let the next process take over.

        This method is called inside functions. It is also called between the commit that marks a request as sent and
        the request itself.
        """
        if self._happens(self._troubles.takeover):
            self._process.take_over()
        if self._happens(self._troubles.pause):
            self._scheduler.sleep(self._fate.uniform(0, _LONGEST_PAUSE))

    def _trouble(self) -> None:
        """Disturb the life in a rare way: a user gives a rare command, or somebody sets the wall clock."""
        if self._happens(self._troubles.clock):
            self._scheduler.set_time_of_day(self._troubles.random_jump(self._fate))
        if self._happens(self._troubles.commands):
            user = self._fate.choice(self.users)
            self._fate.choice([user.cancel_run, user.discard_queue, user.reconnect])()

    # --- a life -------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Run from the first process until every thread is settled. Return False if time runs out before that."""
        self._process.survive(self._process.start)
        for _ in range(self._rng.randint(5, 25)):
            self._act()
        for user in self.users:
            while user.words:
                user.say_next()
        self._network.faults_off = self._store.faults_off = self._functions.faults_off = True
        if self._troubles != NONE and not self._troubles.hasty:
            self._wait_for_rest()
        settled = self._settle()
        if isinstance(self._store, ClusterStore):
            self._process.advance(_UNTIL_HANDLES_READ)
        return settled

    def _act(self) -> None:
        """Let a user do something, and let some time pass."""
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
            self._server.start_run_elsewhere(user.thread_id, *self._random_plan())
        elif action < 0.8 and self._equipment.needs_decisions:
            user.decide_at_random()
        elif action < 0.85 and self._equipment.limits:
            user.set_limit(self._equipment.random_limit(self._rng))
        elif action < 0.88 and self._equipment != BARE:
            user.discard_queue()
        self._correct(user)
        self._trouble()
        self._process.advance(self._rng.choice([0.1, 1.0, 5.0, 60.0]))

    def _correct(self, user: User) -> None:
        """Let an impatient user add a message while one is in doubt, or replace all that wait behind it by one."""
        saved = self._store.load(user.thread_id)
        if not user.words or saved is None or saved.snapshot.queue.doubt is None or self._corrections.random() < 0.5:
            return
        if len(saved.snapshot.queue) > 1:
            user.discard_queue()
        user.say_next()

    def _pass_time(self, is_over: Callable[[], bool], act: Callable[[User], object]) -> bool:
        """Let users act and time pass until `is_over` returns True. Return False if time runs out before that."""
        until, most = self._scheduler.clock.monotonic() + _PATIENCE, len(self._life.journal) + _MAX_LINES
        while self._scheduler.clock.monotonic() < until and len(self._life.journal) < most:
            for user in self.users:
                act(user)
            self._process.advance(50.0)
            if is_over():
                return True
        return False

    def _wait_for_rest(self) -> None:
        """Wait until all threads are at rest, while the server keeps its unusual habits.

        If runs have no deadlines, users answer calls.
        """
        act = User.connect if self._troubles.has_deadlines else User.answer_open_calls
        self._pass_time(lambda: all(map(self._is_at_rest, self.users)), act)
        self._rested = {user.thread_id for user in self.users if self._is_at_rest(user)}

    def _is_at_rest(self, user: User) -> bool:
        saved = self._store.load(user.thread_id)
        if self._is_cut_off(user):
            return True
        if not self._troubles.has_deadlines and self._server.is_stuck(user.thread_id):
            # The thread may wait as long as the run does not end, but the user must have been told that it waits.
            return has_said_so(saved)
        if saved is not None and saved.snapshot.settled and not user.sees_rest():
            return False
        return is_at_rest(saved, locked=self._server.is_locked(user.thread_id))

    def _settle(self) -> bool:
        """Let users answer calls until every thread is settled. Return False if time runs out before that.

        If the users give up, they drop everything first. Otherwise, the server obeys from now on, and the users retry
        parked requests.
        """
        troubled, gives_up, stored = self._troubles != NONE, self._troubles.gives_up, self._store.load
        self._server.faults_off = not gives_up
        if gives_up:
            self._drop_everything()

        def act(user: User) -> None:
            if self._equipment.has_limits and not gives_up:
                user.set_limit(PLENTY)
            if not gives_up and (troubled or is_parked(stored(user.thread_id))):
                # Even without troubles, a request may fail as often as it is tried.
                user.reconnect()
            if gives_up and is_stopped_by_limit(stored(user.thread_id)):
                # After everything was dropped, a run of another client was adopted. It would have to be repeated, but
                # the token limit is reached.
                user.discard_queue()
            if gives_up and self._server.is_stuck(user.thread_id) and was_told_to_wait(stored(user.thread_id)):
                # A run of another client was adopted, but a response that nobody knows blocks the conversation.
                user.cancel_run()
            user.answer_open_calls()

        def is_over(user: User) -> bool:
            return self._is_cut_off(user) or is_settled(stored(user.thread_id), honest=self._honest)

        return self._pass_time(lambda: all(map(is_over, self.users)), act)

    def _is_cut_off(self, user: User) -> bool:
        """Return whether an outage that does not end has begun before the user's first connection."""
        return self._troubles.has_endless_outage and self._store.load(user.thread_id) is None and not user.accepted

    def _drop_everything(self) -> None:
        """Let the users give up all runs and messages that were not answered yet."""
        for user in self.users:
            user.reconnect()  # to adopt a run that was left because of a fault
        self._process.advance(self._fate.choice([0.1, 5.0, 50.0]))
        self._dropped_at = len(self._network.starts)
        for user in self.users:
            user.cancel_run()
            user.discard_queue()
            user.reconnect()  # to read answers that could not be read before
        if isinstance(self._store, ClusterStore):
            self._process.advance(_UNTIL_OWNERS_READ)
            self._dropped_at = len(self._network.starts)

    def _count_starts(self, user: User, first: int) -> int:
        # A run of another client may be adopted when the user connects again, and then be repeated. Such a run is left
        # out here, because its request contains none of the user's keys.
        names = f"{user.thread_id}/messages", f"{user.thread_id}/items", *user.keys
        return sum(any(name in request for name in names) for request in self._network.starts[first:])

    def _check_budget(self, request: str) -> None:
        """Record a message or run that is sent although the library knows that the token limit is reached."""
        for user in self.users if self._equipment.has_limits else ():
            if not re.search(rf"\b{user.thread_id}\b", request):
                continue
            saved = self._store.load(user.thread_id)
            if saved is None or any(isinstance(command, Connect) for _, command in saved.inbox):
                continue  # in a cluster, the process that drives the thread may not have read the new limit yet
            if saved.snapshot.usage.total_tokens >= max(user.limits):
                self._beyond_limit.append((user.thread_id, request))

    # --- the verdict --------------------------------------------------------------------------------------

    def facts(self, user: User, *, settled: bool) -> Facts:
        """Return the facts about a user's thread."""
        was_told = any(isinstance(event, events.RequestFailed) for event in user.heard)
        records = tuple(self._store.history(user.thread_id))
        dropped = [record.event.keys for record in records if isinstance(record.event, events.MessagesDiscarded)]
        refusals = self._troubles.habits.refusals
        return Facts(
            settled=settled,
            strict=self._honest or not was_told,
            saved=self._store.load(user.thread_id),
            accepted=tuple(user.accepted),
            interrupting=frozenset(user.interrupting),
            messages=tuple(self._server.messages(user.thread_id)),
            parts=self._pictures.sent,
            outputs={call_id: tuple(given) for call_id, given in self._server.outputs(user.thread_id).items()},
            records=records,
            heard=tuple(user.heard),
            agents=user.agents,
            rested=user.thread_id in self._rested or self._troubles == NONE or self._troubles.hasty,
            # In a cluster, a handle may show a run that has just ended.
            cancelled=frozenset() if isinstance(self._store, ClusterStore) else frozenset(user.cancelled),
            failed_runs=self._server.failed_runs(user.thread_id),
            started_when_dropped=0 if self._dropped_at is None else self._count_starts(user, self._dropped_at),
            lists_runs=self._lists_runs,
            run_keys=tuple(self._server.run_keys(user.thread_id)),
            excused=frozenset(
                [user.keys[key] for keys in dropped for key in keys if key in user.keys]
                + [word for word, refusal in refusals.items() if refusal.of_message]
            ),
            calls_by_server=self._server.calls_by_server(user.thread_id),
            executions=tuple(each for each in self._functions.executions if each.thread_id == user.thread_id),
            verdicts=self._functions.verdicts,
            tokens=self._server.tokens(user.thread_id),
            beyond_limit=tuple(what for thread_id, what in self._beyond_limit if thread_id == user.thread_id),
            limits_change=self._equipment.limits,
            pieces=tuple(user.pieces),
            streamed=self._server.streamed,
            repeats_rounds=self._troubles.habits.outdated_polls > 0,
            sent_without_right=tuple(self._network.sent_without_right),
            max_attempts=self._settings.request_max_attempts,
        )


def _settings(wire: Wire, troubles: Troubles, equipment: Equipment) -> Settings:
    # With the Responses API, a search takes up to four requests, and each of them may be lost.
    attempts = SETTINGS.request_max_attempts if wire == "assistants" else 15
    return attrs.evolve(
        SETTINGS,
        request_max_attempts=attempts,
        run_timeout=troubles.run_timeout,
        tool_timeout=troubles.tool_timeout,
        approval_timeout=equipment.approval_timeout,
        tool_workers=equipment.tool_workers,
        max_tool_rounds=equipment.max_tool_rounds,
        max_total_tokens=equipment.max_total_tokens,
        streams=equipment.streams or 0,
    )
