"""Decides whether the run of a thread is created as a stream, and which pieces of the stream are announced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import attrs

from gpt_agent_fsm.engine.protocols import (
    Backend,
    Piece,
    RunRequest,
    RunStream,
    StreamingBackend,
    Timeout,
    ToolOutputsRequest,
)
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.engine.run_options import STREAM
from gpt_agent_fsm.engine.streams import Reading, Streams
from gpt_agent_fsm.events import AssistantMessageAdded, AssistantMessageDelta
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Run, StreamPosition
from gpt_agent_fsm.machine.snapshot import LiveRun, Snapshot
from gpt_agent_fsm.machine.states import State

__all__ = ["Listener", "RunMaker"]

_RATE_LIMITED = 429


class RunMaker:
    """Creates and continues runs as streams, and keeps the stream of the last run."""

    def __init__(self, backend: StreamingBackend) -> None:
        self._backend = backend
        self.stream: RunStream | None = None

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """See `Backend.create_run`."""
        run, self.stream = self._backend.create_run_streamed(request, timeout=timeout)
        return run

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """See `Backend.submit_tool_outputs`."""
        run, self.stream = self._backend.submit_tool_outputs_streamed(request, timeout=timeout)
        return run


@attrs.define
class _Spoken:
    """The pieces and messages of one run that were already announced.

    Attributes:
        counts: the number of announced pieces of each message, by the id of the message.
        whole: the ids of the messages that were announced whole. Later pieces of these messages are dropped.
    """

    run_id: str
    counts: Counter[str] = attrs.field(factory=Counter)
    whole: set[str] = attrs.field(factory=set)


_NOTHING_SPOKEN = _Spoken("")


class Listener:
    """The stream of one thread. Only ticks use it."""

    __slots__ = (
        "_backend",
        "_end_was_taken",
        "_heard",
        "_is_over",
        "_known",
        "_plainly",
        "_reading",
        "_spoken",
        "_streams",
        "_thread_id",
    )

    def __init__(self, backend: Backend, streams: Streams, thread_id: str) -> None:
        self._backend = backend
        self._streams = streams
        self._thread_id = thread_id
        self._reading: Reading | None = None
        self._spoken = _NOTHING_SPOKEN
        self._heard: StreamPosition | None = None
        self._is_over = self._end_was_taken = False
        self._plainly = False
        """True after an attempt to make a run as a stream has failed, until the run is made without a stream."""
        self._known: tuple[str, str | None] | None = None
        """The id and the handle of the last run for which it was decided whether to read its stream."""

    # --- opening -----------------------------------------------------------------------------------------

    def maker_for(self, request: effects.Request, snapshot: Snapshot) -> RunMaker | None:
        """Return an object that makes this request as a stream. Return None if the run must not be a stream.

        A run is not a stream if nobody wants a stream, if the backend does not support streams, if no further stream
        may be opened now, or if the last attempt to make the run as a stream has failed. Whatever this method returns,
        the caller must call `made` after the request.
        """
        if self._plainly or not isinstance(request, effects.CreateRun | effects.SubmitToolOutputs):
            return None
        if not (_is_wanted(snapshot, request.run_options) and offers(self._backend, StreamingBackend)):
            return None
        can_stream = not self._streams.is_resting and self._streams.reserve()
        return RunMaker(self._backend) if can_stream else None

    def made(self, request: effects.Request, maker: RunMaker | None, fact: inputs.Input | None) -> None:
        """Start to read the stream of the run that was made. `fact`: the answer to the request, or None."""
        run = fact.run if isinstance(fact, inputs.RunCreated | inputs.RunSeen) else None
        if run is not None and isinstance(request, effects.CreateRun | effects.SubmitToolOutputs):
            self._known = run.id, run.handle
        if run is not None or isinstance(fact, inputs.RequestRejected):
            self._plainly = False
        if maker is None:
            return
        if has_failed := _might_succeed_plainly(fact):
            self._plainly = True
        if has_failed or maker.stream is not None:
            self._streams.note_creation(has_failed=has_failed)
        if run is not None and maker.stream is not None:
            self._read(Reading(self._thread_id, run.id, run.handle, stream=maker.stream))
            return
        self._streams.give_back()
        if maker.stream is not None:
            maker.stream.close()

    def follow(self, snapshot: Snapshot) -> None:
        """Close the stream of a run that is over, and open the stream of a run that this process did not create."""
        if self._reading is not None and not _is_current(self._reading, snapshot):
            self._is_over = True
            self.close()
        run = snapshot.run
        if run is None or snapshot.state is not State.RUNNING or (run.id, run.handle) == self._known:
            return
        self._known, self._plainly = (run.id, run.handle), False
        backend, turn = self._backend, snapshot.outbox.turn
        wanted = _is_wanted(snapshot, "" if turn is None else turn.run_options)
        if wanted and offers(backend, StreamingBackend) and self._streams.reserve():
            heard = run.heard if run.heard is not None and run.heard.handle == run.handle else None
            self._read(Reading(self._thread_id, run.id, run.handle, open_=self._opener(backend, run, heard)))
            if heard is not None:
                self._heard = heard
                self._spoken.counts[heard.message_id] = heard.pieces

    def _opener(
        self, backend: StreamingBackend, run: LiveRun, heard: StreamPosition | None
    ) -> Callable[[], RunStream | None]:
        def open_() -> RunStream | None:
            after, limits = None if heard is None else heard.position, self._streams.limits()
            return backend.open_stream(self._thread_id, run.id, handle=run.handle, after=after, timeout=limits)

        return open_

    def noted(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the position up to which the stream of its run was announced."""
        run, heard = snapshot.run, self._heard
        if run is None or heard is None or run.handle != heard.handle or run.heard == heard:
            return snapshot
        return attrs.evolve(snapshot, run=attrs.evolve(run, heard=heard))

    def _read(self, reading: Reading) -> None:
        if self._spoken.run_id != reading.run_id:
            self._spoken = _Spoken(reading.run_id)
        elif self._reading is not None:
            # The run continues in a new stream, and pieces of the old stream may still wait. The positions of these
            # pieces are not positions in the new stream.
            for piece in self._reading.take():
                reading.add(attrs.evolve(piece, position=None))
        self.close()
        self._reading, self._is_over, self._end_was_taken = reading, False, False
        self._streams.read(reading)

    def close(self) -> None:
        """Stop reading the stream."""
        if self._reading is not None:
            self._reading.close()

    # --- what the stream says -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True while the stream of the run in progress is read."""
        return self._reading is not None and not self._reading.has_ended

    def take_end(self) -> bool:
        """Return True only on the first call after the end of an opened stream.

        When a stream has ended, the state of the run has probably changed.
        """
        reading = self._reading
        if reading is None or not reading.has_ended or self._end_was_taken:
            return False
        self._end_was_taken = True
        return reading.stream is not None

    def deltas_before(self, added: AssistantMessageAdded) -> Iterator[AssistantMessageDelta]:
        """Yield the pieces to announce before a whole message. Later pieces of this message are dropped."""
        if self._reading is None or self._reading.run_id != added.run_id:
            return
        pieces: Iterable[Piece] = self._reading.take_until(added.message_id)
        if not pieces and added.message_id not in self._spoken.counts:
            # Perhaps the server lists the message under another id than in the stream.
            pieces = self._reading.take()
        yield from self._deltas(pieces)
        self._spoken.whole.add(added.message_id)

    def deltas(self) -> Iterator[AssistantMessageDelta]:
        """Yield the pieces that have come, unless the run is over. Call this method only when no record waits.

        A piece that the caller does not take stays for the next call.
        """
        if self._is_over:
            self._reading = None
        if self._reading is not None:
            yield from self._deltas(self._reading.take())

    @property
    def is_reading(self) -> bool:
        """True while the stream of a run is read, or has ended and pieces of it may still wait."""
        return self._reading is not None

    @property
    def has_pieces(self) -> bool:
        """True while a piece waits that `deltas` would yield."""
        return self._reading is not None and not self._is_over and self._reading.has_pieces

    def _deltas(self, pieces: Iterable[Piece]) -> Iterator[AssistantMessageDelta]:
        spoken = self._spoken
        for piece in pieces:
            if piece.message_id not in spoken.whole:
                index = spoken.counts[piece.message_id]
                spoken.counts[piece.message_id] += 1
                self._note(piece, index + 1)
                yield AssistantMessageDelta(
                    thread_id=self._thread_id,
                    run_id=spoken.run_id,
                    message_id=piece.message_id,
                    index=index,
                    text=piece.text,
                )

    def _note(self, piece: Piece, pieces: int) -> None:
        if piece.position is not None and self._reading is not None:
            self._heard = StreamPosition(
                handle=self._reading.handle, position=piece.position, message_id=piece.message_id, pieces=pieces
            )


def _is_wanted(snapshot: Snapshot, run_options: str) -> bool:
    return snapshot.stream or (bool(run_options) and json.loads(run_options).get(STREAM) is True)


def _might_succeed_plainly(fact: inputs.Input | None) -> bool:
    """Return whether a run could not be made as a stream, but perhaps can be made without one.

    Some servers and proxies refuse a request for a stream, or hang up, but accept the same request without a stream.
    """
    if isinstance(fact, inputs.RequestDelayed):
        return fact.status != _RATE_LIMITED
    return isinstance(fact, inputs.RequestUnresolved)


def _is_current(reading: Reading, snapshot: Snapshot) -> bool:
    """Return whether the run of `reading` is in progress, or its messages must still be read."""
    run, to_read = snapshot.run, snapshot.cursor.reading
    return (run is not None and run.id == reading.run_id) or (to_read is not None and to_read.run_id == reading.run_id)
