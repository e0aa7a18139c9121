"""The events of a response's stream: see "Streaming events" in OpenAI's reference of the Responses API.

The server numbers the events of a background response, and can continue a stream after any of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpt_agent_fsm.backends.http.event_stream import EventStream, first_events
from gpt_agent_fsm.backends.http.outcomes import unusable
from gpt_agent_fsm.backends.http.text_stream import MessageTexts, data_of
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.shared.values import lenient_id, lenient_mapping, lenient_number, lenient_text, text_of
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.ports import CallLimits

__all__ = ["ResponseEvents", "first_response"]

_ENDS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
_ERROR = "error"


def first_response(events: EventStream, limits: CallLimits) -> tuple[wire.Response, int | None]:
    """Read the first events of a stream. Return the response that they name, and the number of the last of them.

    Raises an `ApiError` if there is none.
    """
    for event in first_events(events, limits):
        data = data_of(event.data)
        response, number = lenient_mapping(data.get("response")), lenient_number(data.get("sequence_number"))
        if lenient_id(response.get("id")):
            return wire.converter.structure(response, wire.Response), None if number is None else int(number)
        if _kind(event.name, data) == _ERROR:
            break
    sentence = "The server has accepted the response, but the stream of its answer names no response."
    raise unusable("POST", 200, sentence, unreadable=True)


def _kind(name: str, data: Mapping[str, Any]) -> str:
    return lenient_text(data.get("type")) or name


class ResponseEvents:
    """Reads the text of a response. See `EventReader`.

    Args:
        after: the number of the last event that was read before; None if there are no numbers, or no such event.
        is_whole: False if pieces of text may have come before this stream.
    """

    def __init__(self, response_id: str, after: int | None, *, is_whole: bool) -> None:
        self._response_id = response_id
        self._texts = MessageTexts(is_whole=is_whole)
        self.position: int | None = after
        self._items: dict[int, str] = {}
        """The ids of the messages, by their places in the output."""
        self._gap_after: int | None = None
        self._error_after: int | None = None
        self._may_have_gaps = False
        self.is_over: bool = False

    def read(self, name: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `EventReader.read`. An event that the server sends again is left out.

        Raises `TransientError` if events are missing, and if the server reports an error in the middle of a stream that
        it can continue.
        """
        kind = _kind(name, data)
        if kind == _ERROR:
            if self.position is not None and self.position != self._error_after:
                self._error_after = self.position
                raise TransientError(None, lenient_text(data.get("code")), "The server has broken off the stream.")
            self.is_over = True
            return
        number = lenient_number(data.get("sequence_number"))
        if number is not None:
            if self.position is not None and number <= self.position:
                return
            self._check_gap(int(number))
            self.position = int(number)
        item_id = lenient_id(data.get("item_id"))
        if kind == "response.output_text.delta" and item_id:
            if self._fits(data.get("output_index"), item_id):
                yield (
                    item_id,
                    self._texts.add(item_id, data.get("content_index"), lenient_text(data.get("delta")) or ""),
                )
        elif kind == "response.output_item.done":
            yield from self._completed([(data.get("output_index"), data.get("item"))])
        elif kind in _ENDS:
            response = lenient_mapping(data.get("response"))
            output = response.get("output")
            if response.get("id") == self._response_id and isinstance(output, list):
                yield from self._completed(enumerate(output))
            self.is_over = True

    def _fits(self, place: object, item_id: str) -> bool:
        """Return whether the item is the only one that the server has sent for this place of the output.

        Another item at the same place means that the server makes the answer again, as the embedded server does after a
        restart. The pieces of the new answer would not continue those of the old answer, so the stream is over.
        """
        if isinstance(place, int) and self._items.setdefault(place, item_id) != item_id:
            self.is_over = True
        return not self.is_over

    def _check_gap(self, number: int) -> None:
        """Raise `TransientError` if events are missing before this one, so that the stream is opened again at the gap.

        If the server then sends the same gap again, no events are missing: the server only skips numbers. From then on,
        gaps are ignored.
        """
        if self._may_have_gaps or self.position is None or number <= self.position + 1:
            return
        self._may_have_gaps = self.position == self._gap_after
        self._gap_after = self.position
        if not self._may_have_gaps:
            raise TransientError(None, None, f"Events of the stream are missing after number {self.position}.")

    def _completed(self, items: Iterable[tuple[object, object]]) -> Iterator[tuple[str, str]]:
        for place, item in items:
            found = lenient_mapping(item)
            item_id = lenient_id(found.get("id"))
            is_answer = found.get("type") == "message" and found.get("role", "assistant") == "assistant"
            if item_id and is_answer and self._fits(place, item_id):
                yield item_id, self._texts.complete(item_id, text_of(found.get("content")))
