"""The snapshot of one thread: all data that the machine needs for its decisions. A store keeps it.

The snapshot has parts, and the data of one part are cleared together. For example, the data of a run are cleared when
the run ends, and the number of failed attempts is cleared with the request.
"""

from __future__ import annotations

import operator

import attrs

from gpt_agent_fsm.machine.effects import GetRun, ListMessages, Request
from gpt_agent_fsm.machine.objects import Failure, Message, StreamPosition, Usage
from gpt_agent_fsm.machine.outbox import FailedAttempt, Outbox, OwedRun, Turn
from gpt_agent_fsm.machine.queue import EMPTY, Queue
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.tool_calls import NO_CALLS, ToolCalls, as_tool_calls

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
    "Waiting",
]


_NO_TOKENS = Usage()
_NOTHING_TO_SEND = Outbox()

# --- the run ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Ending:
    """The decision that a run must end before it is done, and the reason.

    Attributes:
        code, message: the code and text of the `RunFailed` that will announce the run's end.
        tries: the number of cancels and polls since this decision that did not show the run's end.
    """

    code: str
    message: str
    tries: int = 0


@attrs.frozen(kw_only=True)
class LiveRun:
    """The run that is on the server.

    Attributes:
        handle: as in `Run`.
        calls: the tool calls of the current round, each with its output as soon as the output was recorded.
        rounds: the number of rounds of calls that the run has asked for.
        outputs_accepted: True after the server has accepted the outputs of this round.
        stale_polls: the number of stale polls in a row. A poll is stale if it shows that the run waits for outputs that
            the server has already accepted, or that the run waits for tools but names no call.
        refused_polls: the number of polls in a row that the server has refused because it does not know the run.
        must_cancel: True if the run must be cancelled as soon as no other request is in flight.
        ending: the decision that the run must end before it is done; None while the run may continue.
        hosted_tools: the ids of the announced uses of the server's own tools.
        heard: the position up to which the stream of the run was announced; None if another process cannot continue the
            stream.
    """

    id: str
    handle: str | None = None
    assistant_id: str = ""
    calls: ToolCalls = attrs.field(default=NO_CALLS, converter=as_tool_calls)
    rounds: int = 0
    outputs_accepted: bool = False
    stale_polls: int = 0
    refused_polls: int = 0
    must_cancel: bool = False
    ending: Ending | None = None
    hosted_tools: tuple[str, ...] = ()
    heard: StreamPosition | None = None


@attrs.frozen(kw_only=True)
class LeftRun:
    """A run that the library no longer follows, but that may continue on the server.

    Its tool calls are not announced a second time.
    """

    id: str
    calls: ToolCalls = attrs.field(default=NO_CALLS, converter=as_tool_calls)
    outputs_accepted: bool = False


# --- the one request --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Pending:
    """The request that is due, or in flight.

    Attributes:
        sent: True from before the request is made until its result is known.
        tries: the number of failed attempts of the request that changes the server. If this request only searches for
            the result of an earlier request, the attempts of the earlier request are counted.
        failures: if this request only reads, the number of its failed attempts.
    """

    request: Request
    sent: bool = False
    tries: int = 0
    failures: int = 0


# --- incoming, and the server -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Reading:
    """The reading of a thread's messages after a run, page by page. The messages are published after the last page.

    Attributes:
        run_id, assistant_id: the ids for messages for which the server names no run or no assistant.
        whole: True if all messages must be read from the start, because the server cannot list the messages after a
            cursor.
        own: the assistant's messages that the run itself reports.
        messages: the messages of the pages so far, each once, in the order of the server's list.
        repeats: the number of times that the list was read again because it contained no new messages yet.
        postponed: True if the reading has failed and no attempts are left. Queued messages are then sent before the
            list is read again.
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
    """The cursor: the position up to which the library has read and published the thread.

    Attributes:
        last_message_id: the id of the assistant message that was published last.
        posted_since: the id of the message that the library has posted last since it set `last_message_id`; None if
            there is none. That message is known to be newer than `last_message_id`.
        read_to: the id of the user's message whose run has brought no message, so that the next reading starts there;
            None if a message was published since, or if there is no such run.
        published: the ids of the messages that were published last. If a list shows one of them again, it is not
            published again.
        reading: the reading in progress, or None.
    """

    last_message_id: str | None = None
    posted_since: str | None = None
    read_to: str | None = None
    published: tuple[str, ...] = ()
    reading: Reading | None = None

    @property
    def start(self) -> str | None:
        """The id of the message after which a reading starts; None if it starts at the first message."""
        return self.read_to or self.last_message_id

    def moved_to(self, message_id: str) -> Cursor:
        """Return the cursor after this message of the assistant was published, or was named by a person."""
        return attrs.evolve(self, last_message_id=message_id, posted_since=None, read_to=None)


@attrs.frozen(kw_only=True)
class Newest:
    """The newest message or run on the thread, if the library knows it.

    Attributes:
        id: the id of the message or run; None if there is none, or if the server was not asked yet.
        asked: False until the server was asked.
    """

    id: str | None = None
    asked: bool = False

    @classmethod
    def seen(cls, id_: str | None) -> Newest:
        """Make the object from the id that the server has named. None means that there is no message, or no run."""
        return _NO_NEWEST if id_ is None else cls(id=id_, asked=True)

    @property
    def is_none(self) -> bool:
        """True if it is known that the thread has no message, or no run."""
        return self.asked and self.id is None


_NO_NEWEST = Newest(asked=True)


@attrs.frozen(kw_only=True)
class ServerView:
    """What the library knows about the server, and about the messages and runs on the thread.

    Attributes:
        must_check: True if the library must check for a run in progress before it does anything else.
        last_run: the newest run.
        last_posted: the newest message that the library posted. Before its first message, the newest message of the
            thread.
        ended_run_ids: the ids of the runs that ended last. The end of a run is final, whatever the server says later.
        ended_calls: the ids of the last tool calls that no longer need an output, because their run has ended, or is in
            a later round of calls. If a run failed, its calls may still be open on the thread.
        lost_run_id: the id of a run that the server said it does not know. Even if it blocks a later request, the
            library does not adopt it. None after the next `connect` or `set_assistant_id`.
        message_keys_kept, run_keys_kept: True if the server is known to keep the keys that are sent as metadata.
    """

    must_check: bool = False
    last_run: Newest = Newest()
    last_posted: Newest = Newest()
    ended_run_ids: tuple[str, ...] = ()
    ended_calls: tuple[str, ...] = ()
    lost_run_id: str | None = None
    message_keys_kept: bool = False
    run_keys_kept: bool = False


# --- the wait -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Waiting:
    """The wait of a thread for one thing.

    Attributes:
        since: the time at which the wait began, in seconds since the epoch.
        told: how often the setting `stall_after` is doubled to get the time from `since` to the next `ThreadStalled`.
            It is 0 before the first `ThreadStalled`, and grows with each.
    """

    since: float
    told: int = 0


# --- the whole --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Snapshot:
    """All data of one thread at one moment. Two equal snapshots behave alike forever.

    Attributes:
        run: the run on the server; there is one in `running`, `awaiting_tools` and `submitting`, and in no other state.
        left: the last run that the library stopped following, if that run has tool calls: they must not be announced
            again.
        usage: the tokens of all runs that have ended, including failed runs.
        max_total_tokens: the limit of `usage.total_tokens` for this thread; None for the limit of the settings.
        stream: True if the runs of the thread should be streams.
        tenant: the customer for whom the thread's requests take their turn; "" for all threads without one.
        failure: the last failure; None after a success.
        waiting: the current wait; None at rest. The machine has no clock, so the engine fills in this field.
        queue: the messages to send. A store may keep the queue apart from the rest of the snapshot.
    """

    thread_id: str
    assistant_id: str
    state: State = State.IDLE
    run: LiveRun | None = None
    left: LeftRun | None = None
    outbox: Outbox = _NOTHING_TO_SEND
    pending: Pending | None = None
    cursor: Cursor = Cursor()
    server: ServerView = ServerView()
    usage: Usage = _NO_TOKENS
    max_total_tokens: int | None = None
    stream: bool = False
    tenant: str = ""
    failure: Failure | None = None
    waiting: Waiting | None = None
    queue: Queue = EMPTY

    @property
    def run_id(self) -> str | None:
        """The id of the active run, or of the rate limited run that a new run will replace; None without such a run."""
        if self.run is not None:
            return self.run.id
        failed = None if self.outbox.owed is None else self.outbox.owed.retry_of
        return failed.run_id if failed is not None and self.state is State.RATE_LIMITED else None

    @property
    def calls(self) -> ToolCalls:
        """The known tool calls of `run`, or of `left` if there is no run."""
        known = self.run or self.left
        return NO_CALLS if known is None else known.calls

    @property
    def request(self) -> Request | None:
        """The request that is due, or in flight; None if there is nothing to do."""
        return None if self.pending is None else self.pending.request

    def with_request(self, *, sent: bool) -> Snapshot:
        """Return the snapshot with its request, if it has one, marked as sent or as not sent."""
        pending = self.pending
        return self if pending is None else attrs.evolve(self, pending=attrs.evolve(pending, sent=sent))

    @property
    def has_waiting_request(self) -> bool:
        """True while a request waits for its time and is not sent."""
        return self.pending is not None and not self.pending.sent

    @property
    def polls(self) -> bool:
        """True between two polls of a run, if no attempt of the next poll has failed."""
        pending = self.pending
        if pending is None or pending.sent or pending.failures or self.state is not State.RUNNING:
            return False
        return isinstance(pending.request, GetRun) and not pending.request.in_doubt

    @property
    def settled(self) -> bool:
        """True if nothing will happen without a new input."""
        return self.pending is None and not self.state.run_in_progress

    @property
    def owes_nothing(self) -> bool:
        """True if the thread is settled, and no message, no run and no answer waits for the next command."""
        waits = self.queue or self.outbox.owed is not None or self.cursor.reading is not None
        return self.settled and not waits

    def differs_only_by_a_poll(self, other: Snapshot) -> bool:
        """Return whether the other snapshot differs only in the progress of a GET.

        A restart does not need this progress.
        """
        mine, theirs = self.pending, other.pending
        if mine is None or theirs is None or mine.request.changes_server:
            return self == other
        pages = isinstance(mine.request, ListMessages) and isinstance(theirs.request, ListMessages)
        if mine.tries != theirs.tries or not (pages or mine.request == theirs.request):
            return False
        cursor = self.cursor
        if pages:
            # After a restart, all pages of the reading are read again.
            cursor = attrs.evolve(cursor, reading=other.cursor.reading)
        # Tuples compare by identity first, and most parts are the same objects.
        return (cursor, *_other_parts(self)) == (other.cursor, *_other_parts(other))


_other_parts = operator.attrgetter(
    *(field.name for field in attrs.fields(Snapshot) if field.name not in ("pending", "cursor"))
)
