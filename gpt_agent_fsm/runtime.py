"""All agents of a program that talk to one API with one key."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import attrs

from gpt_agent_fsm import effects, events, inputs, signals
from gpt_agent_fsm.agent import Agent, required_text
from gpt_agent_fsm.driver import Driver, Ports
from gpt_agent_fsm.errors import AgentNotAlive, RuntimeClosed, TransientError
from gpt_agent_fsm.gate import Gate
from gpt_agent_fsm.objects import Run
from gpt_agent_fsm.ports import Backend, Record, Scheduler, Store
from gpt_agent_fsm.scheduler import ThreadedScheduler
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.snapshot import Snapshot
from gpt_agent_fsm.stores import MemoryStore

__all__ = ["Runtime"]

T = TypeVar("T")
_HOPELESS_ATTEMPTS = 3


class Runtime:
    """Drives agents. Use it in a `with` statement, or call `close`.

    Args:
        backend: which API, for example `AssistantsBackend()`.
        settings: how often, how long, how many times.
        store: where threads live; `MemoryStore()` by default.
        scheduler: what ticks; threads of its own by default.
        rng: where the jitter of pauses comes from; give a seeded one to make a test repeatable.

    Every thread that the store has something left to do for is resumed at once: its agent is in `agents`.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        store: Store | None = None,
        *,
        scheduler: Scheduler | None = None,
        rng: random.Random | None = None,
    ) -> None:
        for name, value, kind in (("backend", backend, Backend), ("settings", settings, Settings)):
            if not isinstance(value, kind):
                raise TypeError(f"Runtime: {name} must be a {kind.__name__}, not {type(value).__name__}")
        self.settings = settings
        self._backend = backend
        self._store: Store = MemoryStore() if store is None else store
        self.scheduler: Scheduler = ThreadedScheduler(settings.workers) if scheduler is None else scheduler
        self._random = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._ports = Ports(
            backend=backend,
            store=self._store,
            clock=self.scheduler.clock,
            gate=Gate(self.scheduler.clock, settings),
            random=self._random,
            wake=self.scheduler.wake,
            retire=self._retire,
            left=self._left,
        )
        self._lock = threading.Lock()
        self._closed = False
        self._drivers: dict[str, Driver] = {}
        self._leaving: dict[str, Driver] = {}
        """Stopped, but in a last tick; an agent connected meanwhile waits in `_drivers` for its end."""
        for saved in self._store.unfinished().values():
            self._resume(saved.snapshot)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- threads -------------------------------------------------------------------------------------------

    def create_thread(self) -> str:
        """Create a thread on the server and return its id. Blocks; raises an `ApiError` when tries are spent."""
        self._check_open()
        timeout = self.settings.request_timeout
        return self._insist("create_thread", "", lambda: self._backend.create_thread(timeout=timeout))

    def connect(
        self,
        *,
        thread_id: str,
        assistant_id: str,
        last_message_id: str | None,
        subscribe: Callable[[Agent, events.Event], object] | None = None,
        idle_timeout: float | None = None,
        replay_after: int | None = None,
    ) -> Agent:
        """Return the agent of a thread, made if there is none; a run in progress on the server is adopted.

        Connecting again gives the same agent, with the new assistant, and with the new cursor if one is given.

        Args:
            thread_id: the thread's id on the server.
            assistant_id: who answers from the next run on.
            last_message_id: the last assistant message known; what came after it is published with the next
                completed run. None: no cursor, or the one that is in the store.
            subscribe: called as `subscribe(agent, event)` for each event of this agent, on worker threads.
            idle_timeout: seconds, for this agent, instead of the runtime's. A short one also shortens the time
                a request may take, so that a slow answer counts as none.
            replay_after: give `subscribe` the thread's history after this number first; 0 for all of it.

        Blocks for two requests when the agent is new. Raises `InvalidThreadId` for a thread that the server does
        not know, and other `ApiError` when the server can not be asked; there is no agent then.
        """
        required_text(thread_id, "thread_id")
        required_text(assistant_id, "assistant_id")
        if last_message_id is not None:
            required_text(last_message_id, "last_message_id")
        self._check_open()
        settings = self.settings if idle_timeout is None else attrs.evolve(self.settings, idle_timeout=idle_timeout)
        agent = None
        while agent is None:
            known = self.get(thread_id)
            if known is None:
                runs = self._introduce(thread_id, settings)
                start = Snapshot(thread_id=thread_id, assistant_id=assistant_id, last_message_id=last_message_id)
                agent = self._register(start, settings, runs, subscribe, replay_after)
            else:
                command = inputs.Connect(assistant_id=assistant_id, last_message_id=last_message_id)
                agent = self._reconnect(known, command, idle_timeout, subscribe, replay_after)
        return agent

    def get(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread, or None if there is none in this runtime."""
        with self._lock:
            driver = self._drivers.get(thread_id)
        return None if driver is None else _agent_of(driver)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The agents that are alive."""
        with self._lock:
            return tuple(_agent_of(driver) for driver in self._drivers.values())

    def history(self, thread_id: str, after: int = 0) -> list[Record]:
        """Return what happened to a thread since record number `after`, in order; empty for an unknown thread."""
        return list(self._store.history(thread_id, after))

    # --- making an agent --------------------------------------------------------------------------------------

    def _introduce(self, thread_id: str, settings: Settings) -> Sequence[Run] | None:
        """Ask the server for the thread and its newest run; None where the run has to be asked for again."""
        timeout = settings.request_timeout
        self._insist("get_thread", thread_id, lambda: self._backend.get_thread(thread_id, timeout=timeout))
        try:
            return self._backend.list_runs(thread_id, limit=1, timeout=timeout)
        except TransientError:
            return None

    def _register(
        self,
        start: Snapshot,
        settings: Settings,
        runs: Sequence[Run] | None,
        subscribe: signals.Handler | None,
        replay_after: int | None,
    ) -> Agent | None:
        """Make the thread's agent and let it begin; None if somebody else was faster."""
        driver = Driver(self._ports, start, settings)
        agent = Agent(self, driver)
        driver.sender = agent
        with driver.lock:
            with self._lock:
                self._check_open()
                if start.thread_id in self._drivers:
                    return None
                self._drivers[start.thread_id] = driver
                predecessor = self._leaving.get(start.thread_id)
            try:
                if predecessor is not None:
                    driver.snapshot = predecessor.snapshot
                elif self._store.load(start.thread_id) is None:
                    self._store.commit(start, consumed=0, events=(), at=self.scheduler.clock.time(), due=None)
                driver.accept(
                    inputs.Connect(assistant_id=start.assistant_id, last_message_id=start.last_message_id, look=True)
                )
                if predecessor is None:
                    driver.begin()
            except BaseException:
                with self._lock:
                    self._drivers.pop(start.thread_id, None)
                raise
            if subscribe is not None:
                driver.subscribe(subscribe, replay_after)
            if runs is not None and driver.wanted == effects.GetLatestRun():
                driver.tell(inputs.RunsListed(runs=tuple(runs)))
        self.scheduler.wake(driver)
        return agent

    def _resume(self, snapshot: Snapshot) -> None:
        """Let a thread go on that a process before this one left unfinished."""
        driver = Driver(self._ports, snapshot, self.settings)
        driver.sender = Agent(self, driver)
        with driver.lock:
            self._drivers[driver.thread_id] = driver
            driver.begin()
        self.scheduler.wake(driver)

    @staticmethod
    def _reconnect(
        agent: Agent,
        command: inputs.Connect,
        idle_timeout: float | None,
        subscribe: signals.Handler | None,
        replay_after: int | None,
    ) -> Agent | None:
        """Tell an agent that it was connected again; None if it stopped at this very moment."""
        driver = agent._driver
        try:
            if idle_timeout is not None:
                driver.settings = attrs.evolve(driver.settings, idle_timeout=idle_timeout)
            driver.send(command)
        except AgentNotAlive:
            return None
        if subscribe is not None:
            driver.subscribe(subscribe, replay_after)
        return agent

    def _insist(self, operation: str, thread_id: str, request: Callable[[], T]) -> T:
        """Make a request for a caller who waits, trying again while that may help."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return request()
            except TransientError as error:
                most = self.settings.request_max_attempts
                will_retry = attempt < (min(most, _HOPELESS_ATTEMPTS) if error.hopeless else most)
                _announce_failure(operation, thread_id, error, attempt, will_retry=will_retry)
                if not will_retry:
                    raise
                full = min(
                    self.settings.request_retry_delay * 2.0 ** (attempt - 1), self.settings.request_retry_max_delay
                )
                self.scheduler.sleep(max(error.retry_after or 0.0, full * self._random.uniform(0.5, 1.0)))
                self._check_open()

    # --- the end of an agent ------------------------------------------------------------------------------------

    def remove(self, driver: Driver, reason: str) -> None:
        """Take a driver out; effective before it returns. For `Agent.shutdown`, which is what users call."""
        with self._lock:
            if self._drivers.get(driver.thread_id) is not driver:
                return
            del self._drivers[driver.thread_id]
            self._leaving.setdefault(driver.thread_id, driver)
        driver.stop(reason)
        self.scheduler.wake(driver)

    def _retire(self, driver: Driver, reason: str) -> None:
        """Take an idle driver out from within its tick, unless a command came in at the last moment."""
        with driver.lock:
            if driver.is_quiet():
                self.remove(driver, reason)

    def _left(self, driver: Driver) -> None:
        """Let an agent that was connected meanwhile begin."""
        thread_id = driver.thread_id
        with self._lock:
            if self._leaving.get(thread_id) is not driver:
                return
            del self._leaving[thread_id]
            successor = self._drivers.get(thread_id)
        if successor is not None:
            with successor.lock:
                if not successor.begun and successor.stop_reason is None:
                    successor.begin()
            self.scheduler.wake(successor)

    def close(self) -> None:
        """Stop all agents and end all threads of ours. Idempotent.

        Blocks while requests and handlers end, for at most the time a request may take; a handler that blocks for
        longer is left behind and named in the log. What was accepted stays in the store.
        """
        with self._lock:
            already, self._closed = self._closed, True
            drivers = list(self._drivers.values())
        for driver in drivers:
            self.remove(driver, "runtime_closed")
        self.scheduler.close(self.settings.receive_timeout)
        if not already:
            self._backend.close()
            self._store.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeClosed("This runtime was closed; make a new one.")


def _agent_of(driver: Driver) -> Agent:
    agent = driver.sender
    assert isinstance(agent, Agent)  # noqa: S101 - says to the type checker what `_register` did
    return agent


def _announce_failure(operation: str, thread_id: str, error: TransientError, attempt: int, *, will_retry: bool) -> None:
    """Send `RequestFailed` for a request that was made before there was an agent; the sender is None."""
    event = events.RequestFailed(
        thread_id=thread_id,
        operation=operation,
        status=error.status,
        code=error.code,
        message=str(error),
        attempt=attempt,
        will_retry=will_retry,
    )
    signals.report(event)
    for handler in signals.receivers(None, event):
        signals.call(handler, None, event, by_keyword=True, thread=thread_id or operation)
