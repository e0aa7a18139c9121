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
        """Return the seconds since a fixed moment. The value never decreases."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch."""
        ...


def _always() -> bool:
    return True


@attrs.frozen(kw_only=True)
class CallLimits:
    """The limits of one call of a backend, and the question whether the call may still send its request.

    Attributes:
        deadline: when the call must have ended, in the monotonic seconds of `clock`. If the process was suspended, the
            deadline may have passed before the call begins. Then nothing may be sent.
        may_send: the backend calls this immediately before the first byte of a request that changes the server. If it
            returns False, nothing may be sent, because another process drives the thread now. It may block for a query
            of the store.
        max_answer_bytes: the size in bytes of the largest HTTP answer to accept, measured after decompression.
    """

    deadline: float
    clock: Clock
    may_send: Callable[[], bool] = _always
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; negative after the deadline."""
        return self.deadline - self.clock.monotonic()


Timeout: TypeAlias = float | CallLimits
"""The limits of a call. The engine passes `CallLimits`. A script may pass a number of seconds instead."""


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run to create.

    Attributes:
        key: a unique key that the library sends with the run, so that the run can be found again.
        retry_of: the handle of the rate limited run that this run replaces; None for the first run of a message.
        may_exist: True if an earlier attempt to create this run may have taken effect.
        options: the options of this run alone, by the names of `RunOptions`. The value of `output` is the form of the
            answer: an object with `name`, `schema` and `strict` (true or false).
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
        decisions: pairs of tool call id and JSON text for calls that the server makes itself. The text is an object
            with `approve` (true or false) and perhaps a `reason`.
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
    """One API. Each method makes one HTTP request, or as few HTTP requests as the API allows.

    A method may be called from any OS thread, and blocks at most until the deadline of `timeout`. `handle` is the
    handle in the last `Run` that the backend returned for this run. Future versions of the library may add parameters
    and fields, and these will have defaults.

    If a request fails, the method raises an `ApiError` whose subclass says what is known about the outcome:
    `TransientError` if the request took no effect, `OutcomeUnknown` if a request that changes the server may have taken
    effect, or `ThreadBusy`, `RequestRefused`, `AccessDenied` or `QuotaExceeded`. A backend raises no other exception.

    If a backend supports options for a run, its attribute `run_options` has their names.
    """

    def create_thread(self, *, timeout: Timeout) -> str:
        """Create a thread and return its id."""
        ...

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """Check that the server knows the thread. Raise `InvalidThreadId` if it does not."""
        ...

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """Return at most `limit` (1 to 100) of the thread's runs, newest first.

        If the caller searches for a run, `key` and `retry_of` describe that run. If the API cannot list runs, the
        method infers runs from the messages on the thread: the run in progress, and the run that the caller searches
        for.
        """
        ...

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """Add a user message. Return its id, and True if the HTTP answer shows that the server keeps the key."""
        ...

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """Start a run."""
        ...

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """Return a run as it is now.

        `in_doubt`: True if a request without an HTTP answer may have taken effect. Then outputs may have arrived that
        were submitted after the run was last seen, or an earlier attempt to create this run may have created a second
        run.
        """
        ...

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """Answer the tool calls that a run waits for, and let it continue."""
        ...

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """Return one page of the server's list of messages: those that follow the message `after` in its order."""
        ...

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """Ask the server to end a run."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class FileBackend(Protocol):
    """An API that keeps files. A backend need not implement this interface."""

    def download(self, file_id: str, *, timeout: Timeout) -> bytes:
        """Return the content of a file. Raises an `ApiError` as a method of `Backend` does."""
        ...


@attrs.frozen(kw_only=True)
class Record:
    """One event in a thread's history.

    Attributes:
        seq: the number of the record. Each thread counts its records from 1, without gaps.
        at: when the event was saved, in seconds since the epoch.
    """

    seq: int
    at: float
    event: Event


@attrs.frozen(kw_only=True)
class Saved:
    """All data that a store keeps about one thread, without its history.

    Attributes:
        snapshot: the snapshot that was committed last, with its queue.
        due: when the timer ends, in seconds since the epoch; None if no timer was set.
        inbox: the accepted commands that the snapshot does not contain yet, each with its number, in order.
        unannounced: the records that were not announced yet, in order.
        last_seq: the number of the newest record; 0 if there are no records.
    """

    snapshot: Snapshot
    due: float | None = None
    inbox: tuple[tuple[int, Command], ...] = ()
    unannounced: tuple[Record, ...] = ()
    last_seq: int = 0


@runtime_checkable
class Store(Protocol):
    """Keeps the data of threads. Safe to call from any OS thread. When a call returns, its data is saved.

    A call that cannot keep its promise raises an error and changes nothing. For a full disk or a locked file the error
    is a `StoreError`. If the connection to the store breaks, it may be unknown whether the call changed something. For
    a commit, the engine repeats the call with equal arguments, apart from the times, and the store recognises the
    repetition. For a command, the store removes the command if it was saved after all.
    """

    def load(self, thread_id: str) -> Saved | None:
        """Return the data of a thread, or None."""
        ...

    def accept(self, thread_id: str, command: Command) -> int:
        """Save a command for a thread that has been committed before. Return its number, which grows per thread."""
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
        """In one transaction, save the snapshot, drop the commands up to number `consumed`, and append the events.

        `at` is the time of the events, and `due` is the time at which the timer ends. Both are in seconds since the
        epoch. `queue` has the messages that were added to the snapshot's queue or removed from it since the thread's
        last commit. A store may use it to keep each message as a row, or may keep the whole queue with the snapshot.
        Each event gets a number. The method returns the records of `events`.
        """
        ...

    def announced(self, thread_id: str, seq: int) -> None:
        """Note that every record up to `seq` was announced."""
        ...

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """Return the records with a number above `after`, in order. For an unknown thread there are none."""
        ...

    def unfinished(self) -> Mapping[str, Saved]:
        """Return the threads that have unfinished work or unannounced events."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


@runtime_checkable
class KeyedStore(Protocol):
    """A store that also keeps the keys by which an application finds its threads. Each key belongs to one thread."""

    def claim_key(self, key: str, thread_id: str) -> str:
        """Give the key to the thread, unless another thread has it. Return the thread that has the key now."""
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
    """A task that a scheduler ticks. Each task is the driver of one thread."""

    def tick(self) -> float | None:
        """Do one step. Return the time of the next tick in the clock's monotonic seconds; None if no tick is due."""
        ...

    def describe(self) -> str:
        """Return a text for the log that says what the task is doing."""
        ...


class Scheduler(Protocol):
    """Ticks tasks when they are due or woken. A task is in at most one tick at a time."""

    @property
    def clock(self) -> Clock:
        """The clock by which due times are measured."""
        ...

    def wake(self, task: Task) -> None:
        """Tick the task soon. If a tick of the task is running now, tick the task once more after it."""
        ...

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """Block until `done()` is true, checked whenever `changed` is set. Return False if `timeout` is over before."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the caller for this time. A tick never calls this method."""
        ...

    def close(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the ticks that are due. After that, tick no more. Idempotent."""
        ...


class AgentHandle(Protocol):
    """The part of an agent that the engine uses. The agent is the sender of events."""

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
        """Return whether the lease still holds. The engine calls this method immediately before it makes a request."""
        ...


class Ownership(Protocol):
    """Decides which process drives which thread. An implementation hands a thread over by calling `Roster.own`."""

    def claim(self, thread_id: str) -> Lease | None:
        """Take the right to drive a thread, and return it. Return None if another process has it."""
        ...

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Renew these leases, and return the lost leases. This is for an engine that runs on several machines."""
        ...

    def release(self, lease: Lease, *, more: bool) -> None:
        """Release the lease. `more` is True if the thread has unfinished work."""
        ...

    def wake(self, thread_id: str) -> None:
        """Let the driver of the thread tick soon, in whatever process it is."""
        ...
