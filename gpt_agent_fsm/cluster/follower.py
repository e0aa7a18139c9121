"""A thread as a handle sees it: its snapshot and its events come from the database, whoever drives it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.cluster.writing import Accepting
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.context import not_alive
from gpt_agent_fsm.engine.protocols import Clock, PagingStore, Saved, Store
from gpt_agent_fsm.engine.showing import NOT_TAKEN, explanation
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.waiters import Waiters
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.waits import open_calls
from gpt_agent_fsm.settings import Settings

__all__ = ["Follower", "HeardPieces"]

log: Log = get_logger(__name__)

_NO_MORE = -1
_MOST_REMEMBERED = 100
_PAGE = 500
"""How many records a look reads at once."""


class FollowedStore(Store, PagingStore, Protocol):
    """What a follower needs of the store."""

    def news(self, thread_id: str, *, after: int, limit: int) -> Saved | None:
        """Return the data of a thread, or None if it is unknown.

        `unannounced` is the first `limit` records after the record with the number `after`.
        """
        ...


class HeardPieces:
    """The pieces of messages that the owner of the thread has told. Has the methods that an announcer calls.

    News may be lost. After a missing piece, the other pieces of a message are dropped, so that the pieces are always
    the beginning of its text.
    """

    def __init__(self) -> None:
        self._waiting: deque[events.AssistantMessageDelta] = deque()
        self._next: dict[str, int] = {}
        """For each message that comes now, the number of its next piece."""

    def add(self, delta: events.AssistantMessageDelta) -> None:
        """Add a piece that has come."""
        self._waiting.append(delta)

    @property
    def is_reading(self) -> bool:
        """True while a piece may wait."""
        return bool(self._waiting)

    has_pieces = is_reading

    def deltas_before(self, added: events.AssistantMessageAdded) -> Iterator[events.AssistantMessageDelta]:
        """Yield the pieces to announce before a whole message. Later pieces of this message are dropped."""
        yield from self.deltas()
        self.end(added.message_id)

    def end(self, message_id: str) -> None:
        """Drop the pieces of a message that come from now on, because the whole message is known."""
        self._next[message_id] = _NO_MORE
        while len(self._next) > _MOST_REMEMBERED:
            del self._next[next(iter(self._next))]

    def deltas(self) -> Iterator[events.AssistantMessageDelta]:
        """Yield the pieces that have come."""
        while self._waiting:
            delta = self._waiting.popleft()
            if delta.index == self._next.get(delta.message_id, 0):
                self._next[delta.message_id] = delta.index + 1
                yield delta


class Follower:
    """Follows one thread for the agents of this process. Only ticks change what it shows.

    Args:
        store: the store of all threads. Its `announced` does nothing, because the owner of the thread notes what was
            announced.
        answers: returns whether a function of this program answers calls with a name.

    Attributes:
        heard_seq: the number of the last record that was read.
        is_let_go: True after this process has let the handle go.
        wake: lets this follower be ticked soon.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        settings: Settings,
        store: FollowedStore,
        accepting: Accepting,
        clock: Clock,
        trace: Trace,
        answers: Callable[[str], bool],
    ) -> None:
        self.thread_id: str = snapshot.thread_id
        self.settings: Settings = settings
        self._store = store
        self._accepting = accepting
        self._clock = clock
        self._trace = trace
        self._answers = answers
        self._saved = Saved(snapshot=snapshot)
        self._lock = threading.RLock()
        self._pieces = HeardPieces()
        self.announcer: Announcer = Announcer(self.thread_id, store, self._pieces, self._lock)
        self.waiters: Waiters = Waiters(self._lock)
        self.stop_reason: str | None = None
        self._taken: StoreTaken | None = None
        self._changes, self._seen = 1, 0
        """How many changes were noticed, and how many of them a look has taken into account."""
        self._failure: StoreError | None = None
        """The error of the last look; None if it has succeeded."""
        self._begun = self._left = self._ticking = False
        self.heard_seq: int = 0
        self.is_let_go: bool = False
        self.wake: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Read the thread from the database. Records from now on are announced, by the ticks after this call."""
        saved = self._store.load(self.thread_id)
        if saved is None:
            raise StoreError(f"The cluster does not know {self.thread_id}.")
        # The owner may not have announced all of its records yet, but for this process they are history.
        self._saved, self.heard_seq = saved, saved.last_seq
        calls = [call for call in open_calls(saved.snapshot) if not self._answers(call.name)]
        self.announcer.take_over(Saved(snapshot=saved.snapshot, last_seq=saved.last_seq), calls)
        # The pieces of a message that was just saved may still be on their way.
        for record in self._store.history_page(self.thread_id, after=0, limit=_MOST_REMEMBERED, newest=True):
            if record.seq <= saved.last_seq and isinstance(record.event, events.AssistantMessageAdded):
                self._pieces.end(record.event.message_id)
        self._begun = True

    # --- from any OS thread -----------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of the thread at the last look."""
        return self._saved.snapshot

    def note_change(self) -> None:
        """Note that something has changed in the thread, and look soon."""
        with self._lock:
            self._changes += 1
        self.wake()

    def add_piece(self, delta: events.AssistantMessageDelta) -> None:
        """Announce a piece of a message soon."""
        self._pieces.add(delta)
        self.wake()

    def check_alive(self) -> None:
        """Raise `AgentNotAlive` if the handle was let go, and `StoreTaken` if the database was taken over."""
        if self.stop_reason is not None or self._taken is not None:
            raise not_alive(self.thread_id, self.stop_reason, self._taken)

    def send(self, command: inputs.Command) -> None:
        """Save a command in the thread's inbox, and return when the database has it."""
        self.check_alive()
        try:
            self._accepting.accept(self.thread_id, command)
        except StoreTaken as error:
            self.stop("store_taken", error)
            raise
        if self._trace.hooks and isinstance(command, inputs.AddUserMessage):
            self._trace("message_accepted", thread_id=self.thread_id, key=command.key)
        self.note_change()

    def join(self, handler: signals.Handler | None, replay_after: int | None, *, stream: bool = False) -> None:
        """See `Announcer.join`; the next tick replays the history."""
        self.announcer.join(handler, replay_after, stream=stream)
        self.wake()

    def commands(self) -> list[inputs.Command]:
        """Return the commands that the snapshot did not contain yet at the last look, oldest first."""
        return [command for _, command in self._saved.inbox]

    def stop(self, reason: str, taken: StoreTaken | None = None) -> None:
        """Let the handle go. The thread continues. Idempotent."""
        with self._lock:
            self._taken = self._taken or taken
            self.stop_reason = self.stop_reason or reason
        self.waiters.notify()
        self.wake()

    def is_settled(self) -> bool:
        """Return whether the last look was after the last command, and the thread rests with every event announced."""
        with self._lock:
            busy = self._seen < self._changes or self._ticking or not self.announcer.is_done
            return not busy and not self._saved.inbox and self.snapshot.settled

    @property
    def has_stopped(self) -> bool:
        """True after the handle was let go."""
        return self.stop_reason is not None

    @property
    def has_ended(self) -> bool:
        """True after the last tick."""
        return self._left

    def describe(self) -> str:
        """See `Task.describe`."""
        return f"the handle of thread {self.thread_id}"

    def explain(self) -> str:
        """See `Agent.explain`."""
        saved, failure = self._saved, self._failure
        if failure is not None:
            return f"The thread cannot be read, so its last known state, {saved.snapshot.state}, may be old. {failure}"
        return explanation(saved, self.settings, self._clock.time(), NOT_TAKEN if saved.inbox else "")

    def answers(self, name: str) -> bool:
        """Return whether a function of this program answers calls with this name."""
        return self._answers(name)

    # --- the tick ---------------------------------------------------------------------------------------------

    def tick(self) -> float | None:
        """Look at the database if something has changed, and announce what is new."""
        if not self._begun and self.stop_reason is None:
            return None  # somebody else has got the agent already; the end of `connect` wakes it
        with self._lock:
            self._ticking = True
        try:
            if self.stop_reason is None and self._seen < self._changes:
                self._look()
            if self.stop_reason is None:
                self.announcer.announce(lambda: self.stop_reason is None)
                if self.announcer.inquiries:
                    self.announcer.observe(self.snapshot, self.commands())
            return None if self._finish_if_stopped() else self._next_tick()
        except StoreError as error:
            self._failure = error
            log.warning("%s: the look failed; trying again: %s", self.thread_id, error)
            return self._clock.monotonic() + self.settings.request_retry_delay
        finally:
            with self._lock:
                self._ticking = False
            self.waiters.notify()

    def _look(self) -> None:
        """Read the thread and all its new records. The snapshot is shown when every record that it implies is known."""
        with self._lock:
            changes = self._changes
        while True:
            saved = self._store.news(self.thread_id, after=self.heard_seq, limit=_PAGE)
            if saved is None or saved.last_seq < self.heard_seq:
                saved = self._saved  # the thread was deleted, or an old copy of the database was put in place
                break
            records = saved.unannounced
            if records:  # otherwise there are none, or they were pruned
                self.announcer.add(records)
                self.heard_seq = records[-1].seq
            if len(records) < _PAGE:
                break
        with self._lock:
            self._saved, self._seen, self._failure = saved, changes, None

    def _next_tick(self) -> float | None:
        busy = self._seen < self._changes or self._pieces.has_pieces or not self.announcer.is_done
        return self._clock.monotonic() if busy else None

    def _finish_if_stopped(self) -> bool:
        if self.stop_reason is None:
            return False
        if not self._left:
            self._left = True
            with contextlib.suppress(StoreError):
                self.announcer.announce_end(events.AgentStopped(thread_id=self.thread_id, reason=str(self.stop_reason)))
        return True
