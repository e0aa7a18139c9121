"""All there is to know about one thread: what a store keeps and the machine reasons about.

It is made of parts that live and die together. The data of a run go with the run, and failed attempts go
with the request they were made for.
"""

from __future__ import annotations

import attrs

from gpt_agent_fsm.machine.effects import GetRun, ListMessages, Request
from gpt_agent_fsm.machine.objects import Message, ToolCall
from gpt_agent_fsm.machine.queue import EMPTY, Doubt, Queue
from gpt_agent_fsm.machine.states import State

__all__ = [
    "Cursor",
    "Ending",
    "FailedAttempt",
    "LeftRun",
    "LiveRun",
    "Newest",
    "Outbox",
    "OwedRun",
    "Pending",
    "Reading",
    "ServerView",
    "Snapshot",
    "State",
    "Turn",
]


# --- the run ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Ending:
    """Why a run must end before it is done.

    Attributes:
        code, message: what it will be announced to have failed with.
        tries: how many answers since then did not show its end.
    """

    code: str
    message: str
    tries: int = 0


@attrs.frozen(kw_only=True)
class LiveRun:
    """The run that is on the server.

    Attributes:
        handle: what the backend wants back to find the run; see `Run`.
        calls: the tool calls of the present round, each with its output once that is in.
        outputs_accepted: True once the server has taken the outputs of this round.
        stale_polls: how often in a row the run was seen waiting for outputs that the server has taken, or for nothing.
        must_cancel: True if the run must be cancelled as soon as no request is under way.
        ending: why the run must end before it is done; None while it may continue.
    """

    id: str
    handle: str | None = None
    assistant_id: str = ""
    calls: tuple[ToolCall, ...] = ()
    outputs_accepted: bool = False
    stale_polls: int = 0
    must_cancel: bool = False
    ending: Ending | None = None


@attrs.frozen(kw_only=True)
class LeftRun:
    """A run that was left although it may still be on the server; its calls are not requested a second time."""

    id: str
    calls: tuple[ToolCall, ...] = ()
    outputs_accepted: bool = False


# --- outgoing ---------------------------------------------------------------------------------------


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
class FailedAttempt:
    """A rate limited run that another one repeats."""

    run_id: str
    assistant_id: str = ""
    handle: str | None = None


@attrs.frozen(kw_only=True)
class OwedRun:
    """A run that has yet to be created: its message is on the thread.

    Attributes:
        retry_of: the rate limited run that it repeats; None if it is the first of its turn.
        doubt: set while it is unknown whether it was created.
        must_cancel: True if it must be cancelled as soon as it is known.
    """

    retry_of: FailedAttempt | None = None
    doubt: Doubt | None = None
    must_cancel: bool = False


@attrs.frozen(kw_only=True)
class Outbox:
    """What goes out next, beside the queue.

    Attributes:
        turn: the present turn.
        owed: its run, while that has yet to be created.
        parked: True if nothing more is tried until the next command: a person must act, or all attempts are spent.
        head_is_unwanted: True if the head of the queue, which may have been posted, was discarded: it gets no run.
    """

    turn: Turn | None = None
    owed: OwedRun | None = None
    parked: bool = False
    head_is_unwanted: bool = False


# --- the one request --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Pending:
    """The request that is due, or under way.

    Attributes:
        sent: True from before the request is made until its result is known.
        tries: failed attempts of the request that changes the server, which this one is or searches for.
        failures: failed attempts of this request, if it only reads.
    """

    request: Request
    sent: bool = False
    tries: int = 0
    failures: int = 0


# --- incoming, and the server -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Reading:
    """Messages being read after a run, page by page; published when the last page is in.

    Attributes:
        run_id, assistant_id: for messages that do not name their own.
        whole: True when the server has to be read from the start, since it does not list after a cursor.
        own: what the run itself said it has answered.
        messages: what the pages brought so far, each once, in the order the server gave them.
        repeats: how often it was read again because nothing new was there yet.
        postponed: True once it has failed for good: what waits to be sent goes first.
    """

    run_id: str
    assistant_id: str
    whole: bool = False
    own: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()
    repeats: int = 0
    postponed: bool = False


@attrs.frozen(kw_only=True)
class Cursor:
    """How far the thread was read.

    Attributes:
        last_message_id: the last assistant message that was published.
        posted_since: the last message we posted after the cursor was set, so that it is known to be newer.
        published: the newest messages that were published, so that no listing can bring them twice.
        reading: messages that are being read.
    """

    last_message_id: str | None = None
    posted_since: str | None = None
    published: tuple[str, ...] = ()
    reading: Reading | None = None


@attrs.frozen(kw_only=True)
class Newest:
    """The newest of something on the thread, as far as it is known.

    Attributes:
        id: its id; None if there is none, or nobody has asked.
        asked: False while nobody has asked.
    """

    id: str | None = None
    asked: bool = False

    @classmethod
    def seen(cls, id_: str | None) -> Newest:
        """Return what is known once the server was asked; None: there is none."""
        return cls(id=id_, asked=True)

    @property
    def is_none(self) -> bool:
        """True if there is known to be none."""
        return self.asked and self.id is None


@attrs.frozen(kw_only=True)
class ServerView:
    """What is known of the server and of what is on the thread there.

    Attributes:
        must_check: True if the server must be asked for a run in progress before anything else.
        last_run: the newest run.
        last_posted: the newest message of ours, or the newest that was there before the first of ours.
        ended_run_ids: the last runs that were seen to end. The first end is final, whatever the server says later.
        ended_calls: the last tool calls they were on. If a run failed, they may still be on the thread, unanswered.
        lost_run_id: a run that the server denied knowing. It is not adopted again, even if it is in the way.
        message_keys_kept, run_keys_kept: True if the server is known to keep the keys we send as metadata.
    """

    must_check: bool = False
    last_run: Newest = Newest()
    last_posted: Newest = Newest()
    ended_run_ids: tuple[str, ...] = ()
    ended_calls: tuple[str, ...] = ()
    lost_run_id: str | None = None
    message_keys_kept: bool = False
    run_keys_kept: bool = False


# --- the whole --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Snapshot:
    """One thread, frozen. Equal snapshots behave alike forever.

    Attributes:
        run: the run on the server; there is one in `running`, `awaiting_tools` and `submitting`, and in no other state.
        left: the run that was left last, if it has calls that are not to be requested again.
        queue: the messages to be said; a store keeps it beside the rest.
    """

    thread_id: str
    assistant_id: str
    state: State = State.IDLE
    run: LiveRun | None = None
    left: LeftRun | None = None
    outbox: Outbox = Outbox()
    pending: Pending | None = None
    cursor: Cursor = Cursor()
    server: ServerView = ServerView()
    queue: Queue = EMPTY

    @property
    def run_id(self) -> str | None:
        """The run that is on, or the one to be started again after a rate limit; None without."""
        if self.run is not None:
            return self.run.id
        failed = None if self.outbox.owed is None else self.outbox.owed.retry_of
        return failed.run_id if failed is not None and self.state is State.RATE_LIMITED else None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that are known: those of the run, or of the run that was left."""
        known = self.run or self.left
        return () if known is None else known.calls

    @property
    def request(self) -> Request | None:
        """The request that is due, or under way; None if there is nothing to do."""
        return None if self.pending is None else self.pending.request

    def with_request(self, *, sent: bool) -> Snapshot:
        """Return the snapshot with its request, if it has one, marked as sent or as waiting for its time."""
        pending = self.pending
        return self if pending is None else attrs.evolve(self, pending=attrs.evolve(pending, sent=sent))

    @property
    def has_waiting_request(self) -> bool:
        """True while a request waits for its time."""
        return self.pending is not None and not self.pending.sent

    @property
    def polls(self) -> bool:
        """True between two polls of a run that goes well."""
        pending = self.pending
        if pending is None or pending.sent or pending.failures or self.state is not State.RUNNING:
            return False
        return isinstance(pending.request, GetRun) and not pending.request.in_doubt

    @property
    def settled(self) -> bool:
        """True when nothing will happen without a new input."""
        return self.pending is None and not self.state.run_in_progress

    def differs_only_by_a_poll(self, other: Snapshot) -> bool:
        """Return whether the only news is how a request that only reads is getting on: a restart would miss nothing."""
        mine, theirs = self.pending, other.pending
        if mine is None or theirs is None or mine.request.changes_server:
            return self == other
        pages = isinstance(mine.request, ListMessages) and isinstance(theirs.request, ListMessages)
        if mine.tries != theirs.tries or not (pages or mine.request == theirs.request):
            return False
        cursor = self.cursor
        if pages:
            # After a restart the pages are read again.
            cursor = attrs.evolve(cursor, reading=other.cursor.reading)
        return (
            self.state is other.state
            and self.run == other.run
            and cursor == other.cursor
            and self.outbox == other.outbox
            and self.server == other.server
            and self.queue == other.queue
            and self.left == other.left
            and (self.thread_id, self.assistant_id) == (other.thread_id, other.assistant_id)
        )
