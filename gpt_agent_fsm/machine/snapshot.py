"""All there is to know about one thread: what a store keeps and the core reasons about."""

from __future__ import annotations

from enum import StrEnum

import attrs

from gpt_agent_fsm.machine.effects import GetRun, ListMessages, Request
from gpt_agent_fsm.machine.objects import Message, ToolCall

__all__ = ["Doubt", "QueuedMessage", "Reading", "Snapshot", "SnapshotFields", "State", "Turn"]


class State(StrEnum):
    """Where a thread is in its life. Members compare equal to, and print as, their names in lower case."""

    IDLE = "idle"
    RUNNING = "running"
    AWAITING_TOOLS = "awaiting_tools"
    SUBMITTING = "submitting"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"

    @property
    def run_in_progress(self) -> bool:
        """True while a run is on, or will be started again without a new message."""
        return self not in (State.IDLE, State.FAILED)


@attrs.frozen(kw_only=True)
class QueuedMessage:
    """A user message that was accepted and is not yet known to be on the thread."""

    key: str
    content: str


@attrs.frozen(kw_only=True)
class Turn:
    """What one user message set in motion: its run, and the runs that repeat it after a rate limit.

    Attributes:
        key: the message's key (the run's id for an adopted run); keys of runs are made from it.
        runs: how many runs were wanted so far.
        retries_left: how often a rate limited run may still be started again.
    """

    key: str
    runs: int
    retries_left: int

    @property
    def run_key(self) -> str:
        """The key the current run is created with."""
        return f"{self.key}.{self.runs}"


@attrs.frozen(kw_only=True)
class Doubt:
    """What to go by while it is unknown whether something of ours is on the server.

    Attributes:
        looks: how often to look for it, the grace between, before it is sent again.
        known: the newest that were known when the doubt began, so that what is in doubt is newer; "" stands for the
            knowledge that there were none.
    """

    looks: int
    known: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Reading:
    """Messages being read after a run, page by page; published when the last page is in.

    Attributes:
        run_id, assistant_id: for messages that do not name their own.
        whole: True when the server has to be read from the start, since it does not list after a cursor.
        own: what the run itself said it has answered.
        messages: what the pages brought so far, each once, in the order the server gave them.
    """

    run_id: str
    assistant_id: str
    whole: bool = False
    own: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()


@attrs.define(kw_only=True)
class SnapshotFields:
    """The fields of a snapshot, said once for the frozen `Snapshot` and for the core's working copy."""

    thread_id: str
    assistant_id: str
    state: State = State.IDLE

    # what there is to say
    queue: tuple[QueuedMessage, ...] = ()
    """Accepted messages in order; the first leaves when it is known to be on the thread."""
    last_posted_id: str | None = None
    """The newest message of ours, or that was there before the first; "" where the thread had none at all."""
    turn: Turn | None = None
    run_owed: bool = False
    """A message is on the thread whose run has yet to be created."""
    parked: bool = False
    """Nothing more is tried until the next command: a person must act, or all attempts are spent."""

    # the run
    run_id: str | None = None
    run_handle: str | None = None
    """What the backend wants back to find the run; see `Run`."""
    run_assistant_id: str = ""
    last_run_id: str | None = None
    """The newest run known; "" where the thread had none; None where nobody has looked."""
    ended_run_ids: tuple[str, ...] = ()
    """The last runs that were seen to end: the first end is final, whatever the server says of them later."""
    ended_calls: tuple[str, ...] = ()
    """The last tool calls they were on; where a run failed, they may still stand on the thread without an output."""
    look: bool = False
    """Ask the server for a run in progress before anything else."""
    cancelling: bool = False
    """The run is to be cancelled as soon as no request is under way."""
    timed_out: str = ""
    """Why the run is being cancelled, in a sentence, once it has taken longer than it may."""
    tool_calls: tuple[ToolCall, ...] = ()
    outputs_accepted: bool = False
    repeats: int = 0
    """How often in a row the run was seen waiting for outputs that the server has taken."""
    lost_run_id: str | None = None
    """A run that the server denied knowing: not adopted again, even if it is in the way."""

    # what there is to hear
    last_message_id: str | None = None
    """The cursor: the last assistant message that was published."""
    posted_since: str | None = None
    """The last message we posted after the cursor was set, so that it is known to be newer."""
    published: tuple[str, ...] = ()
    """The newest messages that were published, so that no listing can bring them twice."""
    reading: Reading | None = None

    # the one request
    request: Request | None = None
    """Due, or under way; None when nothing is to be done."""
    sent: bool = False
    """True from before `request` is made until its result is known."""
    tries: int = 0
    """Failed attempts of the request that changes the server."""
    failures: int = 0
    """Failed attempts of the present request that only looks."""
    message_doubt: Doubt | None = None
    """Set while it is unknown whether the first message of the queue was posted."""
    run_doubt: Doubt | None = None
    """Set while it is unknown whether the run that is owed was created."""
    message_keys_kept: bool = False
    """The server is known to keep the keys that we send as metadata of messages."""
    run_keys_kept: bool = False
    """The same, of runs."""

    @property
    def has_waiting_request(self) -> bool:
        """True while `request` waits for its time."""
        return self.request is not None and not self.sent

    @property
    def polls(self) -> bool:
        """True between two looks at a run that goes well."""
        looks = isinstance(self.request, GetRun) and not self.request.in_doubt and not self.failures
        return looks and not self.sent and self.state is State.RUNNING

    @property
    def settled(self) -> bool:
        """True when nothing will happen without a new input."""
        return self.request is None and not self.state.run_in_progress


@attrs.frozen(kw_only=True)
class Snapshot(SnapshotFields):
    """One thread, frozen. Equal snapshots behave alike for ever."""

    def differs_only_by_a_look(self, other: Snapshot) -> bool:
        """True where the only news is how a look at the server is getting on: nothing a restart would miss."""
        if self.request is not None and self.request.changes_server:
            return self == other
        same = attrs.evolve(other, sent=self.sent, failures=self.failures)
        if isinstance(self.request, ListMessages) and isinstance(other.request, ListMessages):
            # After a restart the pages are read again.
            same = attrs.evolve(same, request=self.request, reading=self.reading)
        return self == same
