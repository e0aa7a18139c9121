"""The runtime: all agents of a program that use one API with one API key."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from types import TracebackType
from typing import Any

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.engine.checks import check_number, check_parts, check_trace, required_id
from gpt_agent_fsm.engine.connecting import Connector
from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.files import downloading, uploading
from gpt_agent_fsm.engine.handles import ThreadRoster
from gpt_agent_fsm.engine.history import history_page
from gpt_agent_fsm.engine.keys import ThreadKeys
from gpt_agent_fsm.engine.retrying import WaitingCaller
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.engine.rosters import roster_of
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.tool_desk import functions_of
from gpt_agent_fsm.engine.webhooks import verified
from gpt_agent_fsm.errors import explains_keywords
from gpt_agent_fsm.ports import (
    Backend,
    CountingStore,
    Record,
    Scheduler,
    Store,
    ThreadedScheduler,
    Usage,
    offers,
)
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.tools import Tool, ToolBox

__all__ = ["Runtime"]


class Runtime:
    """Drives agents. Use it in a `with` statement, or call `close`.

    Args:
        backend: the API, for example `AssistantsBackend()`.
        settings: the intervals, timeouts and limits.
        store: the store of the threads. The default is `MemoryStore()`.
        tools: the functions that answer tool calls; see `gpt_agent_fsm.tool`. A function answers the calls that have
            its name. If the backend knows assistants, their functions answer calls, too. Raises `ValueError` if two
            functions have the same name.
        scheduler: the object that ticks the threads. The default ticks them on OS threads of its own.
        rng: the source of the random jitter of pauses. A seeded `rng` makes a test repeatable.
        trace: a function that the library calls as `trace(name, info)` when something happens that takes time. It
            measures the library, and needs no other package. See `add_trace`.

    A new runtime resumes each thread in the store that has unfinished work. The agents of these threads are in
    `agents`.

    Create the runtime after the last fork of the process. If the process forks after that, `close` and the end of the
    `with` statement do nothing in the child, and everything else raises `UsedAfterFork` there.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        store: Store | None = None,
        *,
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (),
        scheduler: Scheduler | None = None,
        rng: random.Random | None = None,
        trace: Callable[[str, Mapping[str, Any]], object] | None = None,
    ) -> None:
        store = MemoryStore() if store is None else store
        check_parts(backend, settings, store)
        if trace is not None:
            check_trace(trace)
        self._settings = settings
        self._backend = backend
        self._store: Store = store
        self._keys = ThreadKeys(store)
        began, unfinished = time.perf_counter(), store.unfinished()
        self.scheduler: Scheduler = ThreadedScheduler(settings.workers) if scheduler is None else scheduler
        rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._tools = ToolBox(tools)
        self._check_tools()
        own = (store, backend, self.scheduler, settings, rng, self._make_agent, self._tools)
        try:
            self._own_roster = roster = roster_of(*own)
            if trace is not None:
                self.add_trace(trace)
            self._caller = WaitingCaller(settings, self.scheduler, rng, roster.check_open)
            self._connector = Connector(backend, settings, self._keys, self._caller, roster)
            if isinstance(roster, Roster):
                roster.resume(unfinished.values(), began)
        except BaseException:
            self.scheduler.close(0)
            raise

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        agents = len(self._own_roster.drivers)
        count = f"{agents} agent{'' if agents == 1 else 's'}"
        return f"<Runtime {count} on {self._backend!r} and a {type(self._store).__name__}>"

    @property
    def settings(self) -> Settings:
        """The settings that the runtime was made with."""
        return self._settings

    @property
    def store(self) -> Store:
        """The store of the threads."""
        return self._store

    @property
    def _roster(self) -> ThreadRoster:
        """The roster. Raises `UsedAfterFork` in a process that was forked after the runtime was made."""
        self._own_roster.origin.check()
        return self._own_roster

    # --- threads -------------------------------------------------------------------------------------------

    def create_thread(self) -> str:
        """Create a thread on the server and return its id. Blocks. Raises an `ApiError` after the last attempt."""
        thread_id = self._caller.request(
            "create_thread", "", lambda: self._backend.create_thread(timeout=self._caller.limits())
        )
        self._connector.created.add(thread_id)
        return thread_id

    def connect(
        self,
        *,
        thread_id: str,
        assistant_id: str,
        last_message_id: str | None,
        subscribe: Callable[[Agent, events.Event], None] | None = None,
        idle_timeout: float | None = None,
        replay_after: int | None = None,
        key: str | None = None,
        max_total_tokens: int | None = None,
        stream: bool | None = None,
        tenant: str | None = None,
    ) -> Agent:
        """Return the agent of a thread. A new agent is created if needed, and adopts a run in progress on the server.

        A second call for a thread returns the same agent, with the new assistant and, if one is given, the new cursor.

        Args:
            thread_id: the thread's id on the server.
            assistant_id: the assistant that answers from the next run on.
            last_message_id: the cursor, which is the id of the last assistant message that the caller knows. Assistant
                messages after the cursor are published when the next run has completed. None means the cursor in the
                store, or no cursor if the store has none.
            subscribe: a function that workers call as `subscribe(agent, event)` for each event of this agent.
            idle_timeout: the idle timeout of this agent in seconds, instead of the setting; `math.inf` means never. A
                short idle timeout also shortens the time that a request may take, so a slow HTTP answer counts as lost.
            replay_after: the number of a history record. Before new events, `subscribe` receives the history after this
                record. 0 means the whole history.
            key: the caller's own name for the thread, for example the name of a customer. `find` and `start` find the
                thread by this key. The store keeps it. Raises `ValueError` if another thread has the key.
            max_total_tokens: how many tokens the runs of the thread may use together, instead of the setting; see
                `BudgetExceeded`. The store keeps this limit. None keeps the limit that was given before.
            stream: True if the texts of the thread's runs should come in pieces, while the model writes them. The
                signal `assistant_message_delta` sends the pieces, and `subscribe` receives them if `stream` is True in
                the same call of `connect`. The store keeps this choice, and None keeps the choice that was made before.
                If the backend or the server has no streams, there are no pieces.
            tenant: the customer to whom the thread belongs. If requests have to wait, because of a rate limit or
                `Settings.requests_per_minute`, the tenants take turns. So a customer with a thousand threads does not
                delay a customer with one. The store keeps this name, and None keeps the name that was given before.
                Threads without a tenant are one tenant together.

        Blocks for two requests if the agent is new, or for one if this runtime has created the thread. Raises
        `InvalidThreadId` for a thread that the server does not know, and another `ApiError` if a request fails. After
        an error there is no agent.
        """
        connection = Connection(
            assistant_id=assistant_id,
            last_message_id=last_message_id,
            subscribe=subscribe,
            idle_timeout=idle_timeout,
            replay_after=replay_after,
            key=key,
            max_total_tokens=max_total_tokens,
            stream=stream,
            tenant=tenant,
        )
        return self._connected(required_id(thread_id, "thread_id"), connection)

    def start(
        self,
        assistant_id: str,
        *,
        key: str | None = None,
        subscribe: Callable[[Agent, events.Event], None] | None = None,
        idle_timeout: float | None = None,
        replay_after: int | None = None,
        max_total_tokens: int | None = None,
        stream: bool | None = None,
        tenant: str | None = None,
    ) -> Agent:
        """Create a thread and return its agent. If a thread already has the key, return that thread's agent.

        The arguments are those of `connect`. Two calls with one key at the same time get the same thread. The store
        finds the thread of a known key without a request. If this runtime has an agent of the thread, no request is
        made. Otherwise `start` blocks. If it creates a thread, it makes one request. For a known key, it makes two
        requests. They show whether the server still has the thread, and whether a run is in progress there, because
        the server refuses messages during a run. To find a thread while the server is down, call `find`. Raises an
        `ApiError` if a request fails, and `InvalidThreadId` if the server no longer has the thread of the key.
        """
        connection = Connection(
            assistant_id=assistant_id,
            subscribe=subscribe,
            idle_timeout=idle_timeout,
            replay_after=replay_after,
            max_total_tokens=max_total_tokens,
            stream=stream,
            tenant=tenant,
        )
        connection.settings_from(self._settings)  # raises for a wrong idle timeout before a thread is created
        if key is None:
            return self._connected(self.create_thread(), connection, is_new=True)
        thread_id, is_new = self._thread_of(key)
        return self._connected(thread_id, connection, is_new=is_new)

    def _thread_of(self, key: str) -> tuple[str, bool]:
        """Return the thread of the key, and whether this call has created it. If no thread has the key, create one."""
        with self._keys.held(required_id(key, "key")):
            if (known := self._keys.find(key)) is not None:
                return known, False
            created = self.create_thread()
            thread_id = self._keys.claim(key, created)
            return thread_id, thread_id == created

    def _connected(self, thread_id: str, connection: Connection, *, is_new: bool = False) -> Agent:
        """Return the agent of a thread. `is_new`: True if nobody else can know the thread yet."""
        self._own_roster.check_open()
        self._check_tools()
        return _agent_of(self._connector.connect(thread_id, connection, is_new=is_new))

    def download(self, file_id: str) -> bytes:
        """Return the content of a file on the server, for example of an `Image` or `File` in a message.

        Blocks. Raises an `ApiError` after the last attempt, and `TypeError` if the backend has no files.
        """
        return self._caller.request("download_file", "", downloading(self._backend, file_id, self._caller.limits))

    def upload(
        self, path_or_bytes: str | PathLike[str] | bytes, name: str | None = None, purpose: str = "assistants"
    ) -> str:
        """Upload a file to the server, and return the id that `Image(file_id=...)` or `File(file_id=...)` takes.

        `name` is the name of the file on the server, by default the name in the path. `purpose` is one of the API's
        purposes, for example "vision" for an image. Blocks, at most for `receive_timeout` per attempt. Raises an
        `ApiError` after the last attempt. If the file may be on the server after a failed attempt, raises
        `OutcomeUnknown` without another attempt. Raises `ValueError` for a file that cannot be read or is empty, and
        `TypeError` if the backend takes no files.
        """
        request = uploading(self._backend, path_or_bytes, name, purpose, self._caller.limits)
        return self._caller.request("upload_file", "", request, repeatable=False)

    def find(self, key: str) -> str | None:
        """Return the id of the thread that has the key, or None. Makes no request."""
        self._own_roster.origin.check()
        return self._keys.find(required_id(key, "key"))

    def get(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread, or None if this runtime has no agent for it."""
        driver = self._roster.get(thread_id)
        return None if driver is None else _agent_of(driver)

    def follow(self, thread_id: str) -> Agent | None:
        """Return the agent of a thread, also of one that this runtime has not connected to, if it is on a `Cluster`.

        Unlike `connect`, this makes no request to the API, and gives no command to the thread. So it is the way to
        a thread of which a program knows only the id, for example to approve a call, from any process. On a `Cluster`,
        it returns None if the cluster does not know the thread, and blocks for a few queries if this runtime has no
        agent of it yet. The new agent hears the events from now on, and lives until `shutdown`, which does not stop the
        thread. With any other store, this is `get`. Raises `RuntimeClosed`, and `StoreError` if the database cannot be
        read.
        """
        driver = self._roster.follow(required_id(thread_id, "thread_id"))
        return None if driver is None else _agent_of(driver)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The agents that are alive."""
        return tuple(_agent_of(driver) for driver in self._roster.drivers)

    def history(
        self, thread_id: str, after: int = 0, limit: int | None = None, *, newest: bool = False
    ) -> list[Record]:
        """Return a thread's history records after the number `after`, in order. An unknown thread has none.

        If `limit` is given, return at most this many records: the first of them, or the last if `newest` is True. The
        order is the same in both cases. Raises `ValueError` if `thread_id` is no text, if `after` is not a whole number
        from 0 up, or if `limit` is not one from 1 up.
        """
        self._own_roster.origin.check()
        thread_id = required_id(thread_id, "history: thread_id")
        check_number(after, "history: after")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValueError(f"history: limit must be a whole number from 1 up, not {limit!r}")
        return list(history_page(self._store, thread_id, after, limit, newest=newest))

    @property
    def usage(self) -> Usage:
        """The tokens of all ended runs of all threads in the store. Reads the store."""
        self._own_roster.origin.check()
        if not offers(self._store, CountingStore):
            raise TypeError(f"{type(self._store).__name__} does not count tokens: it must have the method usage")
        return self._store.usage()

    def handle_webhook(self, headers: Mapping[str, str], body: bytes | str, secret: str) -> bool:
        """Accept a webhook about a response that has ended, and poll the run of this response immediately.

        Args:
            headers: the headers of the HTTP request, including `webhook-id`, `webhook-timestamp` and
                `webhook-signature`.
            body: the unchanged body of the HTTP request.
            secret: the secret with which the server signs webhooks. It begins with `whsec_`.

        Returns True if the webhook woke an agent of this runtime. Returns False for a repeated webhook, for a webhook
        about something else, and for a response that this runtime does not know or does not know yet. On a `Cluster`,
        any process may receive the webhook: if this process does not drive the thread, the webhook is passed on to the
        workers, and the result is True, whether or not one of them knows the response. In all these cases, answer the
        HTTP request with 200. This method does not block, so your web server can call it directly.
        While such webhooks arrive, each run is polled only once per `webhook_heartbeat_interval`. Raises
        `InvalidWebhook` for an invalid webhook (answer with 400), `ValueError` for an invalid secret, and `ImportError`
        without the extra `webhooks`.
        """
        return self._roster.wake_by_webhook(verified(headers, body, secret))

    # --- measuring -------------------------------------------------------------------------------------------

    def add_trace(self, trace: Callable[[str, Mapping[str, Any]], object]) -> Callable[[], None]:
        """Call `trace(name, info)` from now on, as the function that was given to the runtime. Return its remover.

        A runtime may have several such functions. The call is made on the OS thread on which the thing happens, and
        `info` is a read-only mapping with these keys. A later version may add names and keys.

        - `message_accepted`, inside the caller's `add_user_message`, `ask` or `stream`: `thread_id`, and `key`, which
          is the key of the message.
        - `request`, after a request of a thread to the API: `thread_id`, `operation`, `outcome`, `status`, `key`,
          `seconds`.
        - `tool_started` and `tool_ended`, around the function of a tool: `thread_id`, `run_id`, `call_id`, `tool`; and
          at the end `outcome`, `seconds`.
        - `tick`, after a tick of a thread: `thread_id`, `late`, `seconds`, `settled`.
        - `commit`, after a transaction of a thread: `thread_id`, `records`, `seconds`.

        `outcome` is "ok" or a short code. No value contains a text of the conversation, an argument or output of a
        tool, or a secret. The page "Telemetry" of the documentation describes every key.

        The function must be quick, because the library waits for it, and it must not call methods of agents. If it
        raises an error, the log says so once for each name, and the library continues. Raises `TypeError` if the
        function cannot be called in this way.
        """
        check_trace(trace)
        return self._own_roster.trace.add(trace)

    # --- making an agent --------------------------------------------------------------------------------------

    def _check_tools(self) -> None:
        """Raise `ValueError` if two functions have the same name.

        This is checked for each connection, because the backend may have published more assistants since the last one.
        """
        self._tools | functions_of(self._backend)

    def _make_agent(self, driver: Thread) -> Agent:
        return Agent(driver, self._roster)

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop all agents, end the runtime's OS threads, and close the backend and the store. Idempotent.

        Blocks until requests, handlers and functions of tools have ended, but no longer than one request may take
        (`receive_timeout`). The log names each handler that takes longer. If a function of a tool takes longer,
        `ToolContext.cancelled()` returns True for it from then on. No further function is started. Accepted commands
        stay in the store. If a handler calls `close`, the backend and the store are closed after that handler has
        returned. In a process that was forked after the runtime was made, `close` returns immediately and ends nothing.
        """
        if self._own_roster.origin.was_forked:
            return
        clock, waited = self.scheduler.clock, self._settings.receive_timeout
        end = clock.monotonic() + waited
        if not signals.in_handler():
            self._roster.await_tools(waited)
        self._roster.close()
        self.scheduler.close(max(0.0, end - clock.monotonic()))
        if not signals.in_handler():
            self._roster.release_all()


explains_keywords(
    Runtime, "connect", "start", "download", "upload", "find", "get", "history", "handle_webhook", "add_trace"
)


def _agent_of(driver: Thread) -> Agent:
    agent = driver.announcer.sender
    assert isinstance(agent, Agent)  # noqa: S101 - tells the type checker what `_make_agent` has done
    return agent
