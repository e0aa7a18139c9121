"""All agents of a program that talk to one API with one key."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar

import attrs

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.agent import Agent, required_text
from gpt_agent_fsm.engine.driver import Driver, Ports
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.retrying import announce_failure, insist
from gpt_agent_fsm.engine.scheduler import ThreadedScheduler
from gpt_agent_fsm.engine.webhooks import Webhooks, verified
from gpt_agent_fsm.errors import AgentNotAlive, RuntimeClosed, StoreError, TransientError
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Backend, Record, RunPage, Saved, Scheduler, Store
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.stores import MemoryStore

__all__ = ["Runtime"]

log = logging.getLogger(__name__)

T = TypeVar("T")


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
        store = MemoryStore() if store is None else store
        for name, value, kind in (
            ("backend", backend, Backend),
            ("settings", settings, Settings),
            ("store", store, Store),
        ):
            if isinstance(value, type) or not isinstance(value, kind):
                what = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
                raise TypeError(f"Runtime: {name} must be a {kind.__name__}, not {what}")
        self.settings = settings
        self._backend = backend
        self._store: Store = store
        unfinished = store.unfinished()
        self._created: set[str] = set()
        """Threads that this runtime made, and that nobody has connected to yet: they have no messages."""
        self.scheduler: Scheduler = ThreadedScheduler(settings.workers) if scheduler is None else scheduler
        self._webhooks = Webhooks(self.scheduler.clock)
        self._random = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._ports = Ports(
            backend=backend,
            store=self._store,
            clock=self.scheduler.clock,
            gate=Gate(self.scheduler.clock, settings),
            webhooks=self._webhooks,
            random=self._random,
            wake=self.scheduler.wake,
            retire=self._retire,
            remove=self.remove,
            may_begin=self._may_begin,
            left=self._left,
        )
        self._lock = threading.Lock()
        self._closed = False
        self._gone = False
        self._drivers: dict[str, Driver] = {}
        self._leaving: dict[str, Driver] = {}
        """Stopped, but in a last tick; an agent connected meanwhile waits in `_drivers` for its end."""
        try:
            for saved in unfinished.values():
                self._resume(saved)
        except BaseException:
            self.scheduler.close(0)
            raise

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
        thread_id = self._insist("create_thread", "", lambda: self._backend.create_thread(timeout=timeout))
        self._created.add(thread_id)
        return thread_id

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
        _check_connection(thread_id, assistant_id, last_message_id, subscribe)
        self._check_open()
        settings = self.settings if idle_timeout is None else attrs.evolve(self.settings, idle_timeout=idle_timeout)
        command = inputs.Connect(assistant_id=assistant_id, last_message_id=last_message_id)
        agent = None
        while agent is None:
            known = self.get(thread_id)
            if known is None:
                agent = self._make_agent(thread_id, command, settings, subscribe, replay_after)
            else:
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

    def handle_webhook(self, headers: Mapping[str, str], body: bytes | str, secret: str) -> bool:
        """Take in a webhook that tells of the end of a response, and look at its run at once.

        Args:
            headers: those of the HTTP request, `webhook-id`, `webhook-timestamp` and `webhook-signature` among them.
            body: that of the HTTP request, as it came.
            secret: what the server signs with, `whsec_...`.

        Returns True if an agent of this runtime was woken by it; False for one that came before, for one about
        something else, and for a response that is not known, or not yet. Does not block: call it from a request handler
        and answer 200 either way. While such webhooks arrive, runs are polled each `webhook_heartbeat_interval` only.
        Raises `InvalidWebhook` (answer 400), `ValueError` for a secret that can not be one, and `ImportError` without
        the extra `webhooks`.
        """
        notice = verified(headers, body, secret)
        self._check_open()
        if not self._webhooks.take_in(notice):
            return False
        with self._lock:
            told = [driver for driver in self._drivers.values() if driver.snapshot.run_handle == notice.response_id]
        for driver in told:
            self.scheduler.wake(driver)
        return bool(told)

    # --- making an agent --------------------------------------------------------------------------------------

    def _make_agent(
        self,
        thread_id: str,
        command: inputs.Connect,
        settings: Settings,
        subscribe: signals.Handler | None,
        replay_after: int | None,
    ) -> Agent | None:
        """Return a new agent of a thread that the server knows; None if somebody else was faster."""
        listed = self._introduce(thread_id, settings)
        start = Snapshot(
            thread_id=thread_id,
            assistant_id=command.assistant_id,
            last_message_id=command.last_message_id,
            last_posted_id="" if thread_id in self._created else None,
        )
        self._created.discard(thread_id)
        return self._register(start, settings, listed, subscribe, replay_after)

    def _introduce(self, thread_id: str, settings: Settings) -> RunPage | None:
        """Ask the server for the thread and its newest run; None where the run has to be asked for again."""
        timeout = settings.request_timeout
        self._insist("get_thread", thread_id, lambda: self._backend.get_thread(thread_id, timeout=timeout))
        try:
            return self._backend.list_runs(thread_id, limit=1, key=None, timeout=timeout)
        except TransientError as error:
            announce_failure("get_latest_run", thread_id, error, 1, will_retry=True)
            return None

    def _register(
        self,
        start: Snapshot,
        settings: Settings,
        listed: RunPage | None,
        subscribe: signals.Handler | None,
        replay_after: int | None,
    ) -> Agent | None:
        """Make the thread's agent and let it begin; None if somebody else was faster."""
        driver = Driver(self._ports, start, settings)
        agent = Agent(self, driver)
        driver.announcer.sender = agent
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
                # Somebody else may hold it already: it must not look alive.
                driver.stop("not_connected")
                with self._lock:
                    del self._drivers[start.thread_id]
                raise
            if subscribe is not None:
                driver.subscribe(subscribe, replay_after)
            if listed is not None and driver.wanted == effects.GetLatestRun():
                driver.tell(inputs.RunsListed(runs=listed.runs, newest_message_id=listed.newest_message_id))
        self.scheduler.wake(driver)
        return agent

    def _resume(self, saved: Saved) -> None:
        """Let a thread go on that a process before this one left unfinished."""
        driver = Driver(self._ports, saved.snapshot, self.settings)
        driver.announcer.sender = Agent(self, driver)
        with driver.lock:
            self._drivers[driver.thread_id] = driver
            driver.begin(saved)
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

        def open_request() -> T:
            self._check_open()
            return request()

        return insist(
            operation,
            thread_id,
            open_request,
            settings=self.settings,
            scheduler=self.scheduler,
            rng=self._random,
        )

    # --- the end of an agent ------------------------------------------------------------------------------------

    def remove(self, driver: Driver, reason: str) -> None:
        """Take a driver out; effective before it returns. For `Agent.shutdown`, which is what users call."""
        # Both locks, so that no command is accepted by one who is no longer the thread's driver.
        with driver.lock, self._lock:
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

    def _may_begin(self, driver: Driver) -> bool:
        with self._lock:
            return driver.thread_id not in self._leaving

    def _left(self, driver: Driver) -> None:
        """Let an agent that was connected meanwhile begin; let go of everything after the last."""
        thread_id = driver.thread_id
        with self._lock:
            if self._leaving.get(thread_id) is driver:
                del self._leaving[thread_id]
            successor = self._drivers.get(thread_id)
            last = self._closed and not self._leaving
        if successor is not None:
            self.scheduler.wake(successor)
        if last:
            self._let_go()

    def close(self) -> None:
        """Stop all agents, end all threads of ours, and close the backend and the store. Idempotent.

        Blocks while requests and handlers end, for at most the time a request may take; a handler that blocks for
        longer is left behind and named in the log. What was accepted stays in the store. Called from a handler, it
        lets go of backend and store when that handler has returned.
        """
        with self._lock:
            self._closed = True
            drivers = list(self._drivers.values())
        for driver in drivers:
            self.remove(driver, "runtime_closed")
        self.scheduler.close(self.settings.receive_timeout)
        if not signals.in_handler():
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            already, self._gone = self._gone, True
        if already:
            return
        self._backend.close()
        try:
            self._store.close()
        except StoreError:
            # Raised from here it would hide the exception that ended the `with` statement.
            log.exception("the store could not be closed properly; some events may be announced again")

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeClosed("This runtime was closed; make a new one.")


def _check_connection(thread_id: object, assistant_id: object, last_message_id: object, subscribe: object) -> None:
    required_text(thread_id, "thread_id")
    required_text(assistant_id, "assistant_id")
    if last_message_id is not None:
        required_text(last_message_id, "last_message_id")
    if subscribe is not None and not callable(subscribe):
        raise TypeError(f"connect: subscribe must be callable as subscribe(agent, event), not {subscribe!r}")


def _agent_of(driver: Driver) -> Agent:
    agent = driver.announcer.sender
    assert isinstance(agent, Agent)  # noqa: S101 - says to the type checker what `_register` did
    return agent
