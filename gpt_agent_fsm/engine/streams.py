"""Read the streams of runs, each on an OS thread of its own.

A stream is only a hint: the library learns the result of a run by polling it. If a stream fails, only pieces of text
are lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from gpt_agent_fsm.engine.protocols import CallLimits, Piece, RunStream
from gpt_agent_fsm.errors import ApiError, TransientError
from gpt_agent_fsm.logs import Log, get_logger, must_propagate

__all__ = ["Reading", "RunLater", "Streams"]

log: Log = get_logger(__name__)

_MAX_FAILURES = 5
"""How many times in a row a stream may break off without a new event. If it breaks off once more, it is given up."""
_PAUSE = 0.5
"""Seconds before a broken stream is continued. The pause doubles with each failure."""
_SILENCE = 120.0
"""The longest silence of the server, in seconds. After this time, the stream continues on a new connection."""
_MANY = 32
"""If this many pieces wait, further pieces of a message are joined, so that a slow handler does not fall far behind."""
_MAX_FAILED_CREATIONS = 3
"""After this many failed creations in a row, no run is created as a stream for a while."""
_REST = 60.0
"""Seconds during which no run is created as a stream after `_MAX_FAILED_CREATIONS` failed creations in a row. Each
further failure doubles the time."""
_LONGEST_REST = 600.0

RunLater: TypeAlias = Callable[[float, Callable[[], None]], object]
"""A function that calls another function after a number of seconds."""


class Reading:
    """The stream of one run while it is read. Safe to use from any OS thread.

    Args:
        open_: the function that opens the stream, if it is not open yet. It returns None if there is no stream.
        stream: the stream, if it is already open.

    Attributes:
        run_id: the id of the run.
        handle: the handle of the run; see `Run`.
        has_ended: True if no more pieces will come.
    """

    def __init__(
        self,
        thread_id: str,
        run_id: str,
        handle: str | None,
        *,
        open_: Callable[[], RunStream | None] = lambda: None,
        stream: RunStream | None = None,
    ) -> None:
        self.thread_id: str = thread_id
        self.run_id: str = run_id
        self.handle: str | None = handle
        self.open: Callable[[], RunStream | None] = open_
        self.stream: RunStream | None = stream
        self.failures: int = 0
        self.is_broken: bool = False
        self._broke_at: int | None = None
        self.has_ended: bool = False
        self.closed: threading.Event = threading.Event()
        self._lock = threading.Lock()
        self._pieces: deque[Piece] = deque()

    def note_failure(self) -> None:
        """Note that the stream has broken off. If an event has come since the last failure, count from 1 again."""
        position = None if self.stream is None else self.stream.position
        self.failures = 1 if position != self._broke_at else self.failures + 1
        self._broke_at, self.is_broken = position, True

    def add(self, piece: Piece) -> bool:
        """Add a piece that has come. Return whether only one piece waits now."""
        with self._lock:
            if len(self._pieces) >= _MANY and self._pieces[-1].message_id == piece.message_id:
                last = self._pieces.pop()
                piece = Piece(message_id=piece.message_id, text=last.text + piece.text, position=piece.position)
            self._pieces.append(piece)
            return len(self._pieces) == 1

    def take_until(self, message_id: str) -> Sequence[Piece]:
        """Remove and return the pieces that wait, up to the last piece of this message."""
        with self._lock:
            places = [place for place, piece in enumerate(self._pieces, 1) if piece.message_id == message_id]
            return [self._pieces.popleft() for _ in range(places[-1] if places else 0)]

    def take(self) -> Iterator[Piece]:
        """Remove and yield the pieces that wait, one after the other."""
        while self._pieces:
            with self._lock:
                piece = self._pieces.popleft()
            yield piece

    @property
    def has_pieces(self) -> bool:
        """True while a piece waits."""
        return bool(self._pieces)

    def close(self) -> None:
        """Stop reading. The pieces that wait remain."""
        self.closed.set()
        if self.stream is not None:
            self.stream.close()


class Streams:
    """The streams of one runtime. At most `limit` are read at the same time. Safe to use from any OS thread.

    Args:
        limits: a function that returns the limits of a request that begins now. It is also an attribute.
        wake: a function that is called with the id of a thread when a piece of its stream waits, or when its stream has
            ended.
        run_later: the `call_later` of a scheduler with virtual time, to read one piece at a time; None to read on OS
            threads.
        now: a function that returns the time in monotonic seconds.
    """

    def __init__(
        self,
        limit: int,
        limits: Callable[[], CallLimits],
        wake: Callable[[str], None],
        run_later: RunLater | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._failed_creations = 0
        self._rests_until = -math.inf
        self._free = limit
        self.limits: Callable[[], CallLimits] = limits
        self._wake = wake
        self._run_later = run_later
        self._lock = threading.Lock()
        self._is_closed = False

    def reserve(self) -> bool:
        """Take a place for one more stream. Return whether a place was free."""
        with self._lock:
            if self._is_closed or self._free < 1:
                return False
            self._free -= 1
            return True

    @property
    def is_resting(self) -> bool:
        """True while no run should be created as a stream."""
        return self._now() < self._rests_until

    def give_back(self) -> None:
        """Free a place that `reserve` has taken."""
        with self._lock:
            self._free += 1

    def note_creation(self, *, has_failed: bool) -> None:
        """Note the result of an attempt to create a run as a stream.

        `has_failed`: True if the attempt failed, but might succeed without a stream. Each such attempt delays its run,
        for example if a proxy refuses streams. So after some failures in a row, no run is created as a stream for a
        while.
        """
        with self._lock:
            if has_failed and self.is_resting:
                # This attempt began before the rest, and must not prolong the rest.
                return
            self._failed_creations = self._failed_creations + 1 if has_failed else 0
            beyond = self._failed_creations - _MAX_FAILED_CREATIONS
            if beyond >= 0:
                self._rests_until = self._now() + min(_REST * 2.0 ** min(beyond, 10), _LONGEST_REST)

    def close(self) -> None:
        """Open no more streams, and stop reading each open stream after its next piece."""
        self._is_closed = True

    def read(self, reading: Reading) -> None:
        """Start to read a stream. Until its end, the stream uses the place that was reserved for it."""
        if self._run_later is not None:
            self._run_later(0.0, lambda: self._step_later(reading))
            return
        try:
            threading.Thread(target=self._read, args=(reading,), name="gpt-agent-fsm stream", daemon=True).start()
        except RuntimeError:
            log.exception("%s: there is no OS thread for a stream", reading.thread_id)
            self._end(reading)

    def _read(self, reading: Reading) -> None:
        try:
            while (pause := self._step(reading)) is not None:
                if pause:
                    reading.closed.wait(pause)
        finally:
            self._end(reading)

    def _step_later(self, reading: Reading) -> None:
        pause = self._step(reading)
        if pause is None or self._run_later is None:
            self._end(reading)
        else:
            self._run_later(max(pause, _PAUSE / 5), lambda: self._step_later(reading))

    def _end(self, reading: Reading) -> None:
        reading.has_ended = True
        reading.close()
        self.give_back()
        self._wake(reading.thread_id)

    def _step(self, reading: Reading) -> float | None:
        """Read one piece. Return how many seconds to wait before the next step, or None at the end of the stream."""
        if reading.closed.is_set() or self._is_closed:
            return None
        try:
            piece = self._next_piece(reading)
        except TransientError as error:
            log.debug("%s: the stream of %s broke off: %s", reading.thread_id, reading.run_id, error)
            reading.note_failure()
            return None if reading.failures > _MAX_FAILURES else _PAUSE * 2.0 ** (reading.failures - 1)
        except ApiError as error:
            log.debug("%s: there is no stream of %s: %s", reading.thread_id, reading.run_id, error)
            return None
        except BaseException as error:
            if must_propagate(error):
                raise
            log.exception("%s: the stream of %s failed", reading.thread_id, reading.run_id)
            return None
        if piece is None:
            return None
        reading.failures = 0
        if reading.add(piece):
            self._wake(reading.thread_id)
        return 0.0

    def _next_piece(self, reading: Reading) -> Piece | None:
        if reading.stream is None:
            reading.stream = reading.open()
            if reading.stream is None:
                return None
            if reading.closed.is_set():
                # The reading was closed while the stream was opened.
                reading.stream.close()
                return None
        elif reading.is_broken and not reading.stream.resume(timeout=self.limits()):
            return None
        reading.is_broken = False
        return reading.stream.next_piece(silence=_SILENCE)
