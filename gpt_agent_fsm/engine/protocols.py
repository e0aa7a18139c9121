"""The interfaces that the library needs: an API, a store, a scheduler, a clock. Any object with these methods works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import MessagePage, Run, RunPage, Usage
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot

__all__ = [
    "AgentHandle",
    "Backend",
    "CallLimits",
    "Clock",
    "CountingStore",
    "FileBackend",
    "KeyedStore",
    "Lease",
    "Ownership",
    "Record",
    "RunRequest",
    "Saved",
    "Scheduler",
    "Store",
    "Task",
    "Timeout",
    "ToolOutputsRequest",
]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The default of `CallLimits.max_answer_bytes` and of the setting of that name."""


class Clock(Protocol):
    """Monotonic time, and the time of day."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch."""
        ...


def _always() -> bool:
    return True


@attrs.frozen(kw_only=True)
class CallLimits:
    """The limits of one call of a backend, and whether it may still send.

    Attributes:
        deadline: when the call must have ended, in the monotonic seconds of `clock`. It may have passed already, if the
            process was stopped in between: then nothing may be sent.
        may_send: called immediately before the first byte of a request that changes the server is sent. If it returns
            False, nothing may be sent, because another process drives the thread now. It may block for a query of the
            store.
        max_answer_bytes: the size of the largest HTTP answer to accept, unpacked.
    """

    deadline: float
    clock: Clock
    may_send: Callable[[], bool] = _always
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; negative after it."""
        return self.deadline - self.clock.monotonic()


Timeout: TypeAlias = float | CallLimits
"""The limits of a call: the engine passes `CallLimits`; a script may pass seconds from now."""


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run to create.

    Attributes:
        key: a unique key that the library sends with the run, so that the run can be found again.
        retry_of: the handle of the rate limited run that this run replaces; None for the first run of a message.
        may_exist: True if an earlier attempt to create this run may have taken effect.
        options: the options of this run alone, by the names of `RunOptions`. `output` is an object with the `name`, the
            `schema` and `strict`, true or false, of the answer that is wanted.
    """

    thread_id: str
    assistant_id: str
    key: str
    retry_of: str | None = None
    may_exist: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ToolOutputsRequest:
    """The outputs of all tool calls that a run waits for.

    Attributes:
        outputs: pairs of tool call id and JSON text.
        assistant_id: the assistant that continues the run.
        handle: as in `Run`.
        decisions: the same pairs for calls that the server makes itself; the text is an object with `approve`, true or
            false, and perhaps a `reason`.
        options: the options of the run, as in `RunRequest`.
    """

    thread_id: str
    run_id: str
    outputs: tuple[tuple[str, str], ...] = ()
    assistant_id: str = ""
    handle: str | None = None
    decisions: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)


@runtime_checkable
class Backend(Protocol):
    """One API. Each method makes one HTTP request, or as few as the API allows.

    A method blocks at most until the deadline of `timeout`, and may be called from any OS thread. `handle` is the
    handle of the run as it was last seen. Parameters and fields that are added later have defaults.

    Each method raises an `ApiError` whose subclass says what is known about the outcome: `TransientError` if the
    request took no effect, `OutcomeUnknown` if a request that changes the server may have taken effect, `ThreadBusy`,
    `RequestRefused`, `AccessDenied`, `QuotaExceeded`. A backend raises no other exception.

    A backend that takes options for a run has an attribute `run_options` with their names.
    """

    def create_thread(self, *, timeout: Timeout) -> str:
        """Create a thread and return its id."""
        ...

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """Check that the server knows the thread; raise `InvalidThreadId` if it does not."""
        ...

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """Return the newest runs of the thread, newest first, `limit` (1 to 100) at most.

        If a run is searched for, `key` and `retry_of` describe it. With an API that cannot list runs, the method
        returns the run in progress and the run that is searched for, inferred from their messages on the thread.
        """
        ...

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """Add a user message; return its id and whether the HTTP answer shows that the server keeps the key."""
        ...

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """Start a run."""
        ...

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """Return a run as it is now.

        `in_doubt`: outputs that were submitted after the run was last seen may have arrived, or an earlier attempt to
        create this run may have created a second one.
        """
        ...

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """Answer the tool calls that a run waits for, and let it continue."""
        ...

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """Return one page of messages that follow the message `after` in the order of the list."""
        ...

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """Ask the server to end a run."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class FileBackend(Protocol):
    """An API that keeps files. A backend need not have them."""

    def download(self, file_id: str, *, timeout: Timeout) -> bytes:
        """Return the content of a file. Raises an `ApiError` as a method of `Backend` does."""
        ...


@attrs.frozen(kw_only=True)
class Record:
    """One event in a thread's history.

    Attributes:
        seq: the number of the record, which counts per thread from 1, without gaps.
        at: when the event was saved, in seconds since the epoch.
    """

    seq: int
    at: float
    event: Event


@attrs.frozen(kw_only=True)
class Saved:
    """The data that a store keeps of one thread.

    Attributes:
        snapshot: the snapshot that was committed last, with its queue.
        due: when the timer ends, in seconds since the epoch; None if no timer was set.
        inbox: accepted commands that the snapshot does not contain yet, with their numbers, in order.
        unannounced: records that were not announced yet, in order.
        last_seq: the number of the newest record; 0 without records.
    """

    snapshot: Snapshot
    due: float | None = None
    inbox: tuple[tuple[int, Command], ...] = ()
    unannounced: tuple[Record, ...] = ()
    last_seq: int = 0


@runtime_checkable
class Store(Protocol):
    """Keeps threads. Safe to call from any OS thread. When a call returns, its data is saved.

    A call that cannot keep its promise raises an error and changes nothing: `StoreError` for a full disk or a locked
    file. If the connection to the store broke, it may be unknown whether a call changed something. Then the engine
    repeats a commit with equal arguments, apart from the times, and the store recognises it; the store withdraws a
    command that it had saved.
    """

    def load(self, thread_id: str) -> Saved | None:
        """Return the data of a thread, or None."""
        ...

    def accept(self, thread_id: str, command: Command) -> int:
        """Save a command for a thread that was committed before; return its number, which grows per thread."""
        ...

    def commit(
        self,
        snapshot: Snapshot,
        *,
        consumed: int,
        events: Sequence[Event],
        at: float,
        due: float | None,
        queue: QueueChange = NO_CHANGE,
    ) -> Sequence[Record]:
        """Save the snapshot, drop the commands up to number `consumed`, number and append the events: all or nothing.

        `at` is the time of the events; `due` is the time at which the timer ends; both are in seconds since the epoch.
        `queue` has the messages that were added to and removed from the snapshot's queue since the thread's last
        commit: a store may keep the queue as rows by these numbers, or with the rest. Returns the records of `events`.
        """
        ...

    def announced(self, thread_id: str, seq: int) -> None:
        """Note that every record up to `seq` was announced."""
        ...

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """Return the records with a number above `after`, in order; none for an unknown thread."""
        ...

    def unfinished(self) -> Mapping[str, Saved]:
        """Return the threads that have unfinished work or unannounced events."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that also keeps the keys under which an application finds its threads. Each key belongs to one thread."""

    def claim_key(self, key: str, thread_id: str) -> str:
        """Give the key to the thread, unless a thread has it; return the thread that has it now."""
        ...

    def find(self, key: str) -> str | None:
        """Return the thread that has the key, or None."""
        ...


@runtime_checkable
class CountingStore(Protocol):
    """A store that also adds up the tokens of its threads."""

    def usage(self) -> Usage:
        """Return the sum of `Snapshot.usage` over all threads."""
        ...


class Task(Protocol):
    """A task that a scheduler ticks: the driver of one thread."""

    def tick(self) -> float | None:
        """Do one step. Return the time of the next tick in the clock's monotonic seconds, or None for never."""
        ...

    def describe(self) -> str:
        """Return for the log what the task is doing."""
        ...


class Scheduler(Protocol):
    """Ticks tasks when they are due or woken. A task is in at most one tick at a time."""

    @property
    def clock(self) -> Clock:
        """The clock by which due times are measured."""
        ...

    def wake(self, task: Task) -> None:
        """Tick the task soon; again, if it is being ticked right now."""
        ...

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """Block until `done()` is true; it is called whenever `changed` is set. Return False after `timeout`."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the caller. Never called from a tick."""
        ...

    def close(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the ticks that are due, then tick no more. Idempotent."""
        ...


class AgentHandle(Protocol):
    """The part of an agent that the engine uses: the agent is the sender of events."""

    @property
    def thread_id(self) -> str:
        """The thread."""
        ...

    @property
    def alive(self) -> bool:
        """False after the agent was stopped."""
        ...


class Lease(Protocol):
    """The right to drive one thread."""

    @property
    def thread_id(self) -> str:
        """The thread."""
        ...

    def holds(self) -> bool:
        """Return whether the lease still holds. Called immediately before a request is made."""
        ...


class Ownership(Protocol):
    """Decides who drives which thread. An implementation hands a thread over by calling `Roster.own`."""

    def claim(self, thread_id: str) -> Lease | None:
        """Take the right to drive a thread; None if somebody else has it."""
        ...

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Renew these leases; return those that are lost. For an engine that runs on several machines."""
        ...

    def release(self, lease: Lease, *, more: bool) -> None:
        """Release the lease; with `more`, the thread has unfinished work."""
        ...

    def wake(self, thread_id: str) -> None:
        """Let the driver of the thread, wherever it is, tick soon."""
        ...
