"""Announces each event of one thread once, in order, to its subscribers. Replays the history to new subscribers."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.history import records_after
from gpt_agent_fsm.engine.inquiry import Inquiry
from gpt_agent_fsm.engine.protocols import AgentHandle, Record, Saved, SharedStore, Store
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State

__all__ = ["Announcer", "PieceSource"]

_NO_CALLS: Mapping[str, events.ToolCallRequested] = {}
_PIECES_AT_ONCE = 8
"""How many pieces are announced before other threads get their turn on this worker."""


@attrs.frozen
class _Subscriber:
    """A handler that was given to `connect`.

    Attributes:
        after: a number of a record. The handler gets only records with a higher number; 0 excludes no record.
        wants_pieces: True if the handler also gets the pieces of messages while the model writes them.
    """

    handler: signals.Handler
    after: int
    wants_pieces: bool


class PieceSource(Protocol):
    """Where the pieces of messages come from. A `Listener` is one."""

    @property
    def is_reading(self) -> bool:
        """See `Listener.is_reading`."""
        ...

    def deltas_before(self, added: events.AssistantMessageAdded) -> Iterator[events.AssistantMessageDelta]:
        """See `Listener.deltas_before`."""
        ...

    def deltas(self) -> Iterator[events.AssistantMessageDelta]:
        """See `Listener.deltas`."""
        ...


class Announcer:
    """The saved events of one thread that are not announced yet, and the thread's subscribers.

    Only ticks announce events.

    Attributes:
        sender: the agent, which is the sender of the signals and the first argument of the handlers.
        handler: the handler that is being called at this moment, or None.
        inquiries: one object for each caller who waits for an answer. Each event is passed to the handlers first, and
            to these objects after that.
    """

    __slots__ = (
        "_again",
        "_first",
        "_joined",
        "_lock",
        "_newcomers",
        "_noted_seq",
        "_outbox",
        "_pieces",
        "_seen_seq",
        "_shared",
        "_signals_heard",
        "_store",
        "_subscribers",
        "_thread_id",
        "_unheard_seq",
        "handler",
        "inquiries",
        "sender",
    )

    def __init__(
        self,
        thread_id: str,
        store: Store,
        pieces: PieceSource,
        lock: threading.RLock,
        shared: SharedStore | None = None,
    ) -> None:
        self._thread_id = thread_id
        self._shared = shared
        self._store = store
        self._pieces = pieces
        self.sender: AgentHandle | None = None
        self.handler: signals.Handler | None = None
        self.inquiries: tuple[Inquiry, ...] = ()
        self._lock = lock
        self._outbox: deque[Record] | None = None
        """None while nothing waits, because most threads are idle, and an empty deque takes 760 bytes."""
        self._subscribers: tuple[_Subscriber, ...] = ()
        self._newcomers: tuple[_Subscriber, ...] = ()
        self._seen_seq = self._noted_seq = self._unheard_seq = 0
        """The numbers of three records: the last that was announced, the last that is saved as announced, and the last
        that nobody followed when it was saved."""
        self._again: Mapping[str, events.ToolCallRequested] = _NO_CALLS
        """For each id, an open call that another runtime announced. Handlers of this runtime have not heard it."""
        self._signals_heard = False
        """True after the calls in `_again` were sent to the signals."""
        self._joined = False
        """True after the first `connect` to the thread in this runtime."""
        self._first: signals.Handler | None = None
        """The subscriber of the first `connect`, until it has heard the calls in `_again`; None without a
        subscriber."""

    def join(self, handler: signals.Handler | None, replay_after: int | None, *, stream: bool = False) -> None:
        """Add a subscriber, because user code has connected to the thread.

        If `handler` is not None, `handler(agent, event)` is called for each new event. If `replay_after` is a number,
        the handler first gets each record of the history with a higher number.
        """
        with self._lock:
            if not self._joined:
                self._joined, self._first = True, handler
            if handler is None:
                return
            subscriber = _Subscriber(handler, replay_after or 0, stream)
            if replay_after is None:
                self._subscribers = (*self._subscribers, subscriber)
            else:
                self._newcomers = (*self._newcomers, subscriber)

    def take_over(self, saved: Saved, open_calls: Iterable[events.ToolCallRequested] = ()) -> None:
        """Continue where the previous announcer of the thread stopped.

        `open_calls` are the tool calls without an output. A call is announced again, unless its first announcement is
        still among the events that were saved but not announced.
        """
        self.add(saved.unannounced)
        self._seen_seq = self._noted_seq = saved.last_seq - len(saved.unannounced)
        unannounced = (record.event for record in saved.unannounced)
        to_come = {event.id for event in unannounced if isinstance(event, events.ToolCallRequested)}
        again = {call.id: attrs.evolve(call, again=True) for call in open_calls if call.id not in to_come}
        self._again = again or _NO_CALLS

    def add(self, records: Sequence[Record], *, unheard: bool = False) -> None:
        """Add records that must be announced. `unheard`: the result of `is_unheard` before the records were saved."""
        if records:
            self._outbox = self._outbox or deque()
            self._outbox.extend(records)
            self._unheard_seq = records[-1].seq if unheard else 0

    def is_heard(self, call_id: str) -> bool:
        """Return whether a handler can answer this tool call.

        This is true if any handler is connected, and if another process may have one. It is also true while the call
        must be announced again and user code has not connected yet.
        """
        if self._shared is not None:
            return True
        return (call_id in self._again and not self._joined) or self.is_followed(events.ToolCallRequested)

    def is_followed(self, event_class: type[events.Event]) -> bool:
        """Return whether an event of this class would be announced to a handler."""
        if self._subscribers or self._newcomers:
            return True
        return next(signals.receivers(self.sender, event_class), None) is not None

    def is_unheard(self, happened: Iterable[events.Event]) -> bool:
        """Return whether no handler must be called for these events, and for the records that wait."""
        if self._newcomers or (self._first is not None and self._again):
            return False
        if self._outbox and (self._subscribers or self._outbox[-1].seq != self._unheard_seq):
            return False
        return not any(self.is_followed(type(event)) for event in happened)

    @property
    def is_done(self) -> bool:
        """True if every record was announced to every subscriber."""
        return not self._outbox and not self._newcomers and not (self._first is not None and self._again)

    @property
    def _is_at_rest(self) -> bool:
        """True if there is nothing to announce, as in most ticks."""
        waiting = self._outbox or self._newcomers or self._again or self._pieces.is_reading
        return not waiting and self._seen_seq == self._noted_seq

    def announce(self, may_continue: Callable[[], bool], has_time: Callable[[], bool] = lambda: True) -> None:
        """Announce records while `may_continue()` is true. The remaining records wait for the next call.

        After the last record, also announce some pieces of messages, while `has_time()` is true as well.
        """
        if self._is_at_rest:
            return
        self._welcome(may_continue)
        while self._outbox and may_continue():
            record = self._outbox[0]
            if isinstance(record.event, events.AssistantMessageAdded):
                for delta in self._pieces.deltas_before(record.event):
                    self._announce_piece(delta)
                    if not may_continue():
                        break
                if not may_continue():
                    break
            if not self._is_followed(record.seq):
                signals.report(record.event)
                self._deliver(record.event, [each.handler for each in self._subscribers if record.seq > each.after])
            self._tell_inquiries(record.event)
            self._seen_seq = record.seq
            self._outbox.popleft()
            self._outbox = self._outbox or None
            self._forget_what_ended(record.event)
            self._welcome(may_continue)
        if not self._outbox and may_continue():
            self._announce_some_pieces(lambda: may_continue() and has_time())
        if self._seen_seq > self._noted_seq:
            self._store.announced(self._thread_id, self._seen_seq)
            self._noted_seq = self._seen_seq
        if may_continue():
            self._announce_open_calls_again(may_continue)

    def _announce_some_pieces(self, may_continue: Callable[[], bool]) -> None:
        """Announce pieces that have come. Each piece is taken only if `may_continue()` is true at that moment."""
        deltas = self._pieces.deltas()
        for _ in range(_PIECES_AT_ONCE):
            delta = next(deltas, None) if may_continue() else None
            if delta is None:
                return
            self._announce_piece(delta)

    def _announce_piece(self, delta: events.AssistantMessageDelta) -> None:
        if self._shared is not None:
            self._shared.relay(delta)
            if self._is_followed(None):
                return
        self._deliver(delta, [each.handler for each in self._subscribers if each.wants_pieces])
        self._tell_inquiries(delta)

    def _tell_inquiries(self, event: events.Event) -> None:
        for inquiry in self.inquiries:
            inquiry.hear(event)

    @contextlib.contextmanager
    def followed_by(self, inquiry: Inquiry) -> Iterator[None]:
        """Pass each event to the inquiry of a waiting caller, until the `with` block ends."""
        with self._lock:
            self.inquiries = (*self.inquiries, inquiry)
        try:
            yield
        finally:
            with self._lock:
                self.inquiries = tuple(each for each in self.inquiries if each is not inquiry)

    def observe(self, snapshot: Snapshot, waiting: Sequence[inputs.Command]) -> None:
        """Show the snapshot to the inquiries of the waiting callers.

        If an event from before this snapshot is not announced yet, do nothing.
        """
        if not self._outbox:
            for inquiry in self.inquiries:
                inquiry.observe(snapshot, waiting)

    def announce_end(self, stopped: events.AgentStopped) -> None:
        """Announce that the agent was stopped. This event is not part of the thread's history.

        If the store is shared, the thread has other handles, and only this driver has stopped.
        """
        if self._shared is not None:
            return
        self._deliver(stopped, [each.handler for each in (*self._subscribers, *self._newcomers)])

    def _forget_what_ended(self, event: events.Event) -> None:
        """Forget the open calls that need not be announced again after this event."""
        if isinstance(event, events.ToolCallOutputRecorded):
            self._again = {id_: call for id_, call in self._again.items() if id_ != event.id} or _NO_CALLS
        elif isinstance(event, events.StateChanged) and event.dest != State.AWAITING_TOOLS:
            self._again = _NO_CALLS

    def _announce_open_calls_again(self, may_continue: Callable[[], bool]) -> None:
        """Announce the open tool calls again, once to the signals and once to the subscriber of the first `connect`."""
        with self._lock:
            if self._newcomers:
                # New subscribers must hear the history first.
                return
            first, self._first = self._first, None
        to_signals, self._signals_heard = not self._signals_heard, True
        for call in list(self._again.values()):
            if not may_continue():
                return
            if first is not None:
                self._call(first, call, by_keyword=False)
            if to_signals and not self._is_followed(None):
                self._deliver(call, ())

    def _welcome(self, may_continue: Callable[[], bool]) -> None:
        """Replay the history to new subscribers, up to the last record that the other subscribers have got."""
        while self._newcomers and may_continue():
            newcomer = self._replay(self._newcomers[0], may_continue)
            with self._lock:
                self._newcomers = self._newcomers[1:]
                if may_continue():
                    self._subscribers = (*self._subscribers, newcomer)
                else:
                    self._newcomers = (newcomer, *self._newcomers)

    def _replay(self, newcomer: _Subscriber, may_continue: Callable[[], bool]) -> _Subscriber:
        """Replay the history to a new subscriber, while `may_continue()` is true. Return the subscriber as it is then.

        If the store fails during the replay, the next one continues where this one stopped.
        """
        heard = newcomer.after
        try:
            for record in records_after(self._store, self._thread_id, heard):
                if record.seq > self._seen_seq or not may_continue():
                    break
                heard = record.seq
                self._call(newcomer.handler, record.event, by_keyword=False)
        except BaseException:
            with self._lock:
                self._newcomers = (attrs.evolve(newcomer, after=heard), *self._newcomers[1:])
            raise
        # No record has a higher number than `last`. If `after` were higher, new records would be withheld.
        last = self._outbox[-1].seq if self._outbox else self._seen_seq
        return attrs.evolve(newcomer, after=min(heard, last))

    def _is_followed(self, seq: int | None) -> bool:
        """Return whether a handle in this process announces the record by itself; see `SharedStore.is_followed`."""
        return self._shared is not None and self._shared.is_followed(self._thread_id, seq)

    def _deliver(self, event: events.Event, subscribers: Iterable[signals.Handler]) -> None:
        for handler in subscribers:
            self._call(handler, event, by_keyword=False)
        for handler in signals.receivers(self.sender, type(event)):
            self._call(handler, event, by_keyword=True)

    def _call(self, handler: signals.Handler, event: events.Event, *, by_keyword: bool) -> None:
        self.handler = handler
        try:
            signals.call(handler, self.sender, event, by_keyword=by_keyword, thread=self._thread_id)
        finally:
            self.handler = None
