"""Connect user code to the driver of a thread. A driver is made only if the server knows the thread."""

from __future__ import annotations

from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.handles import ThreadRoster
from gpt_agent_fsm.engine.keys import ThreadKeys
from gpt_agent_fsm.engine.protocols import Backend
from gpt_agent_fsm.engine.retrying import WaitingCaller, announce_failure
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.errors import AgentNotAlive, RequestRefused, StoreTaken, TransientError
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Cursor, Newest, ServerView, Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["Connector"]


class Connector:
    """Makes the connections of one runtime. Safe to use from any OS thread.

    Attributes:
        created: the ids of the threads that this runtime has created and to which nobody has connected. These threads
            have no messages.
    """

    def __init__(
        self, backend: Backend, settings: Settings, keys: ThreadKeys, caller: WaitingCaller, roster: ThreadRoster
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._keys = keys
        self._caller = caller
        self._roster = roster
        self.created: set[str] = set()

    def connect(self, thread_id: str, connection: Connection, *, is_new: bool = False) -> Thread:
        """Return the driver of a thread. If the thread has none, make one. See `Runtime.connect`.

        `is_new`: True if nobody else can know the thread yet. Then the server is not asked for a run in progress.
        """
        while True:
            known = self._roster.get(thread_id)
            if known is None:
                driver = self._introduce(thread_id, connection, is_new=is_new)
            else:
                self._claim_key(connection.key, thread_id)
                driver = _connect_again(known, connection)
            if driver is not None:
                return driver
            is_new = False  # another caller knows the thread now

    def _introduce(self, thread_id: str, connection: Connection, *, is_new: bool) -> Thread | None:
        """Return a new driver of a thread that the server knows; None if another call has made the driver first."""
        settings = connection.settings_from(self._settings)
        known = inputs.RunsListed(runs=()) if is_new else self._ask_for(thread_id, settings)
        # The key is claimed only after the server has confirmed the thread. If the server did not know the thread, the
        # key would be lost.
        self._claim_key(connection.key, thread_id)
        command, nothing_posted = connection.command(), ServerView(last_posted=Newest.seen(None))
        start = Snapshot(
            thread_id=thread_id,
            assistant_id=command.assistant_id,
            max_total_tokens=connection.max_total_tokens,
            tenant=connection.tenant or "",
            cursor=Cursor(last_message_id=connection.last_message_id),
            server=nothing_posted if thread_id in self.created else ServerView(),
        )
        self.created.discard(thread_id)
        return self._roster.connect(start, settings, connection, known)

    def _claim_key(self, key: str | None, thread_id: str) -> None:
        """Give the key to the thread. Raise `ValueError` if another thread has it."""
        if key is not None and (owner := self._keys.claim(key, thread_id)) != thread_id:
            raise ValueError(f"connect: the key {key!r} belongs to the thread {owner}")

    def _ask_for(self, thread_id: str, settings: Settings) -> inputs.RunsListed | None:
        """Request the thread and its newest run from the server. Return None if the request for the run failed."""
        backend, limits = self._backend, self._caller.limits
        if thread_id not in self.created:
            self._caller.request(
                "get_thread", thread_id, lambda: backend.get_thread(thread_id, timeout=limits(settings))
            )
        try:
            listed = backend.list_runs(thread_id, limit=1, key=None, timeout=limits(settings))
        except RequestRefused:
            if thread_id not in self.created:
                raise
            # The thread was deleted since; now the server is asked for the thread, and the error says so.
            self.created.discard(thread_id)
            return self._ask_for(thread_id, settings)
        except TransientError as error:
            announce_failure("get_latest_run", thread_id, error, 1, will_retry=True)
            return None
        return inputs.RunsListed(runs=listed.runs, newest_message_id=listed.newest_message_id)


def _connect_again(driver: Thread, connection: Connection) -> Thread | None:
    """Tell the driver that its thread was connected again, and return it; None if the driver has just stopped."""
    try:
        if connection.idle_timeout is not None:
            driver.settings = connection.settings_from(driver.settings)
        driver.send(connection.command())
    except StoreTaken:
        raise
    except AgentNotAlive:
        return None
    connection.join(driver)
    return driver
