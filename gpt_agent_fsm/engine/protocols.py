"""What the library needs from the outside: an API, a place for snapshots, a clock. Anything of these shapes will do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import MessagePage, Run, RunPage
from gpt_agent_fsm.machine.queue import NO_CHANGE, QueueChange
from gpt_agent_fsm.machine.snapshot import Snapshot

__all__ = [
    "AgentHandle",
    "Backend",
    "CallLimits",
    "Clock",
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
    """What one call of a backend may take, and whether it may still send.

    Attributes:
        deadline: when the call must have ended, in the monotonic seconds of `clock`. It may have passed already, if the
            process was stopped meanwhile: then nothing may be sent.
        may_send: asked right before the first byte of a request that changes the server leaves; if it returns False,
            nothing may be sent, because somebody else drives the thread now. It may block for a query of the store.
        max_answer_bytes: the largest answer to accept, unpacked.
    """

    deadline: float
    clock: Clock
    may_send: Callable[[], bool] = _always
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; negative once it has passed."""
        return self.deadline - self.clock.monotonic()


Timeout: TypeAlias = float | CallLimits
"""What a call may take: the engine gives `CallLimits`; a script may give seconds from now."""


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run to create.

    Attributes:
        key: ours, unique, sent along so that the run can be found again.
        retry_of: the handle of the rate limited run that it starts again; None if it is the first of its message.
        in_doubt: True if an earlier attempt to create this very run may have taken effect.
    """

    thread_id: str
    assistant_id: str
    key: str
    retry_of: str | None = None
    in_doubt: bool = False


@attrs.frozen(kw_only=True)
class ToolOutputsRequest:
    """The outputs of all tool calls that a run waits for.

    Attributes:
        outputs: pairs of tool call id and JSON text.
        assistant_id: who continues the run.
        handle: as in `Run`.
    """

    thread_id: str
    run_id: str
    outputs: tuple[tuple[str, str], ...]
    assistant_id: str = ""
    handle: str | None = None


@runtime_checkable
class Backend(Protocol):
    """One API. Each method makes one HTTP request, or as few as the wire allows.

    It blocks at most until the deadline of `timeout`, and may be called from any OS thread. `handle` is that of the
    run as it was last seen. Parameters and fields that come later have defaults.

    Each raises an `ApiError` whose branch says what is known of the outcome: `TransientError` when nothing took
    effect, `OutcomeUnknown` when a request that changes the server may have, `ThreadBusy`, `RequestRefused`,
    `AccessDenied`, `QuotaExceeded`. No other exception leaves a backend.
    """

    def create_thread(self, *, timeout: Timeout) -> str:
        """Create a thread and return its id."""
        ...

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """Return if the server knows the thread; raise `InvalidThreadId` if it does not."""
        ...

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """Return the newest runs of the thread, newest first, `limit` (1 to 100) at most.

        `key` and `retry_of` describe the run that is searched for, if one is. A wire that cannot list runs returns the
        run in progress, and the one searched for, inferred from what it left on the thread.
        """
        ...

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """Add a user message; return its id and whether the server was seen to keep the key."""
        ...

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """Start a run."""
        ...

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """Return a run as it is now.

        `in_doubt`: outputs that were submitted since it was last seen may have arrived, or an earlier attempt to start
        this very run may have landed beside it.
        """
        ...

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """Answer the tool calls that a run waits for, and let it continue."""
        ...

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """Read one page of messages after the message `after`, in the direction of reading."""
        ...

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """Ask the server to end a run."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@attrs.frozen(kw_only=True)
class Record:
    """One event in a thread's history.

    Attributes:
        seq: counts per thread from 1, without gaps.
        at: when it was saved, seconds since the epoch.
    """

    seq: int
    at: float
    event: Event


@attrs.frozen(kw_only=True)
class Saved:
    """What a store has of one thread.

    Attributes:
        snapshot: the last one that was committed, its queue included.
        due: when the timer that was set is over, in seconds since the epoch; None where none was set.
        inbox: commands that were accepted and not yet taken into the snapshot, with their numbers, in order.
        unannounced: records that no handler has been given yet, in order.
        last_seq: number of the newest record; 0 without any.
    """

    snapshot: Snapshot
    due: float | None = None
    inbox: tuple[tuple[int, Command], ...] = ()
    unannounced: tuple[Record, ...] = ()
    last_seq: int = 0


@runtime_checkable
class Store(Protocol):
    """Where threads live between two moments. Safe to call from any thread; what returned is kept.

    A call that cannot keep its promise raises, and changes nothing: `StoreError` for a full disk or a locked file. If
    the store went away, it may be unknown whether a call changed something. Then a commit is repeated with equal
    arguments, apart from the times, and the store recognizes it; a command that was taken is withdrawn.
    """

    def load(self, thread_id: str) -> Saved | None:
        """Return what is kept of a thread, or None."""
        ...

    def accept(self, thread_id: str, command: Command) -> int:
        """Take down a command for a thread that was committed before; return its number, which grows per thread."""
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

        `at` becomes the time of the events; `due` is when the timer that was set is over; both in seconds since the
        epoch. `queue` says what was written to and removed from the snapshot's queue since the thread's last commit: a
        store may keep the queue as rows by these numbers, or with the rest. Returns the records of `events`.
        """
        ...

    def announced(self, thread_id: str, seq: int) -> None:
        """Note that every record up to `seq` was given to the handlers."""
        ...

    def history(self, thread_id: str, after: int = 0) -> Sequence[Record]:
        """Return the records with a number above `after`, in order; none for an unknown thread."""
        ...

    def unfinished(self) -> Mapping[str, Saved]:
        """Return the threads that have something left to do or to announce."""
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...


class Task(Protocol):
    """What a scheduler ticks: one thread of conversation."""

    def tick(self) -> float | None:
        """Do one step. Return when to come back, in the clock's monotonic seconds; None for never."""
        ...

    def describe(self) -> str:
        """Say for a log what the task is busy with."""
        ...


class Scheduler(Protocol):
    """Ticks tasks when they are due or woken, each at most once at a time."""

    @property
    def clock(self) -> Clock:
        """The time that due times are told in."""
        ...

    def wake(self, task: Task) -> None:
        """Tick the task soon; again, if it is being ticked right now."""
        ...

    def wait(self, done: Callable[[], bool], changed: threading.Event, timeout: float | None) -> bool:
        """Block until `done()`, which is asked anew whenever `changed` is set. False when `timeout` seconds passed."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the caller. Never called from a tick."""
        ...

    def close(self, timeout: float) -> None:
        """Let the ticks that were asked for end, for at most `timeout` seconds, then tick no more. Idempotent."""
        ...


class AgentHandle(Protocol):
    """What the engine knows of an agent: events are announced for it."""

    @property
    def thread_id(self) -> str:
        """The thread."""
        ...

    @property
    def alive(self) -> bool:
        """False once the agent was stopped."""
        ...


class Lease(Protocol):
    """The right to drive one thread."""

    @property
    def thread_id(self) -> str:
        """The thread."""
        ...

    def holds(self) -> bool:
        """Return whether the right still holds. Asked right before a request is made."""
        ...


class Ownership(Protocol):
    """Who drives which thread. Whoever implements this hands a thread over by `Roster.own`."""

    def claim(self, thread_id: str) -> Lease | None:
        """Take the right to drive a thread; None if somebody else has it."""
        ...

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """Say that the owner of these leases lives; return those that are lost. For an engine of many machines."""
        ...

    def release(self, lease: Lease, *, more: bool) -> None:
        """Give the right back; `more`: there is something left to do for the thread."""
        ...

    def wake(self, thread_id: str) -> None:
        """Have the thread ticked soon by whoever drives it."""
        ...
