"""The code for streamed answers that both APIs share. It collects the texts of messages, and reopens broken streams."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from gpt_agent_fsm.backends.http.event_stream import EventStream
from gpt_agent_fsm.backends.shared.values import lenient_mapping
from gpt_agent_fsm.errors import RequestRefused, TransientError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.ports import Piece, Timeout

__all__ = ["EventReader", "MessageTexts", "StreamSwitch", "TextStream", "data_of"]

T = TypeVar("T")
log: Log = get_logger(__name__)

_HOUR = 3600.0


def data_of(data: bytes) -> Mapping[str, Any]:
    """Return the object in the data of an event. Return an empty mapping if there is none."""
    try:
        return lenient_mapping(msgspec.json.decode(data))
    except (ValueError, RecursionError):
        return {}


class StreamSwitch:
    """Remembers for which models the server refuses to answer with a stream.

    Servers word this refusal in many ways, and some refuse streams only for certain models. So a refused request is
    made once more without a stream. If this succeeds, the server has probably refused the stream and not the request.
    But the reason of the refusal may also have been temporary, so after an hour a stream is tried again.

    Args:
        now: a function that returns the time in monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._refused_until: dict[str, float] = {}

    def make(self, model: str, streamed: Callable[[], T], plainly: Callable[[], T]) -> T:
        """Return what `streamed` returns. If the server refuses streams for this model, call `plainly` instead.

        `model` is any text that stands for the model. Raises what the last call raises.
        """
        if self._now() < self._refused_until.get(model, -math.inf):
            return plainly()
        try:
            return streamed()
        except RequestRefused as error:
            made, status = plainly(), error.status
        log.info("the server refuses streams for %s (HTTP %s); one is tried again in an hour", model, status)
        self._refused_until[model] = self._now() + _HOUR
        return made


class MessageTexts:
    """The texts of the messages of one stream, as far as their pieces have arrived.

    The text of a message consists of the texts of its parts, joined by newlines, as in `AssistantMessageAdded.content`.

    Args:
        is_whole: False if the stream does not begin at the beginning of the run.
    """

    def __init__(self, *, is_whole: bool = True) -> None:
        self._is_whole = is_whole
        self._texts: dict[str, str] = {}
        self._parts: dict[str, object] = {}

    def add(self, message_id: str, part: object, text: str) -> str:
        """Take the next text of one of a message's parts, and return the piece that it adds to the message."""
        if not self._is_whole and message_id not in self._parts and isinstance(part, int) and part > 0:
            # It is not known whether the previous part had a text, so a newline may be missing before this text.
            return ""
        last = self._parts.get(message_id, part)
        if text:
            self._parts[message_id] = part
        piece = f"\n{text}" if text and last != part else text
        self._texts[message_id] = self._texts.get(message_id, "") + piece
        return piece

    def complete(self, message_id: str, content: str) -> str:
        """Return the rest of `content`, a message's whole text: everything after the pieces of the message so far.

        Return "" if nothing is missing, or if it is not certain what is missing.
        """
        begun = self._texts.get(message_id, "")
        if not self._is_whole or not content.startswith(begun):
            return ""
        self._texts[message_id] = content
        return content[len(begun) :]


class EventReader(Protocol):
    """Reads the events of one API.

    Attributes:
        position: the number of the last event, after which the server can continue the stream; None if the events have
            no numbers.
        is_over: True after the event that ends the stream.
    """

    position: int | None
    is_over: bool

    def read(self, name: str, data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Return the pieces in an event: pairs of the id of a message and a text."""
        ...


class TextStream:
    """The stream of a run's text that the engine reads. See `RunStream`.

    Args:
        events: the events of the answer.
        reader: the reader of these events.
        reopen: a function that returns the events after a position; None if the API cannot continue a stream.
    """

    def __init__(
        self,
        events: EventStream,
        reader: EventReader,
        reopen: Callable[[int, Timeout], EventStream | None] | None = None,
    ) -> None:
        self._events = events
        self._reader = reader
        self._reopen = reopen
        self._pieces: Iterator[Piece] = iter(())
        self._is_closed = False

    @property
    def position(self) -> int | None:
        """See `RunStream.position`."""
        return self._reader.position

    def next_piece(self, *, silence: float) -> Piece | None:
        """See `RunStream.next_piece`."""
        while not self._is_closed:
            piece = next(self._pieces, None)
            if piece is not None:
                return piece
            if self._reader.is_over:
                self._events.finish()
                break
            event = self._events.next_event(silence)
            if event is None and not self._is_closed:
                raise TransientError(None, None, "The stream ended before the run's turn.")
            if event is None:
                break
            self._pieces = iter(self._pieces_of(event.name, data_of(event.data)))
        self.close()
        return None

    def _pieces_of(self, name: str, data: Mapping[str, Any]) -> list[Piece]:
        found = self._reader.read(name, data)
        return [
            Piece(message_id=message_id, text=text, position=self._reader.position)
            for message_id, text in found
            if text
        ]

    def resume(self, *, timeout: Timeout) -> bool:
        """See `RunStream.resume`."""
        position = self._reader.position
        if self._reopen is None or position is None or self._is_closed or self._reader.is_over:
            return False
        self._events.close()
        events = self._reopen(position, timeout)
        if events is None:
            return False
        self._events = events
        if self._is_closed:
            # `close` was called while the stream was opened.
            events.close()
        return True

    def close(self) -> None:
        """See `RunStream.close`."""
        self._is_closed = True
        self._events.close()
