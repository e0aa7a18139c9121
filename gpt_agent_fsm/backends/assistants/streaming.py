"""The events of a run's stream: see "Streaming" in OpenAI's reference of the Assistants API, version 2.

The server cannot continue a stream that has broken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpt_agent_fsm.backends.assistants import wire
from gpt_agent_fsm.backends.http.event_stream import EventStream, first_events
from gpt_agent_fsm.backends.http.outcomes import unusable
from gpt_agent_fsm.backends.http.text_stream import MessageTexts, data_of
from gpt_agent_fsm.backends.shared.values import is_another_id, lenient_id, lenient_mapping, lenient_text, text_of
from gpt_agent_fsm.ports import CallLimits

__all__ = ["RunEvents", "first_run"]

_MESSAGE = "thread.message"
_ENDS = ("done", "error")


def first_run(events: EventStream, limits: CallLimits) -> wire.Run:
    """Return the run that the first events of a stream name. Raises an `ApiError` if there is none."""
    for event in first_events(events, limits):
        data = data_of(event.data)
        kind = _kind(event.name, data)
        if kind in _ENDS:
            break
        if kind.startswith("thread.run") and not kind.startswith("thread.run.step") and lenient_id(data.get("id")):
            return wire.converter.structure(data, wire.Run)
    sentence = "The server has accepted the run, but the stream of its answer names no run."
    raise unusable("POST", 200, sentence, unreadable=True)


def _kind(name: str, data: Mapping[str, Any]) -> str:
    """Return the kind of an event. If the server does not name its events, the kind is the type of the object."""
    return lenient_text(data.get("object")) or name if name == "message" else name


class RunEvents:
    """Reads the text of a run. See `EventReader`."""

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id
        self._texts = MessageTexts()
        self._foreign: set[str] = set()
        """The ids of the messages to ignore: those of the user, and those of other threads, which a server may have
        mixed in by mistake."""
        self.position: int | None = None
        self.is_over: bool = False

    def read(self, name: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `EventReader.read`."""
        kind, message_id = _kind(name, data), lenient_id(data.get("id"))
        if kind in _ENDS:
            self.is_over = True
        if not kind.startswith(_MESSAGE) or message_id is None:
            return
        if is_another_id(lenient_id(data.get("thread_id")), self._thread_id) or data.get("role") == "user":
            self._foreign.add(message_id)
        if message_id in self._foreign:
            return
        if kind == "thread.message.delta":
            yield from self._deltas(message_id, lenient_mapping(data.get("delta")).get("content"))
        elif kind == "thread.message.completed":
            yield message_id, self._texts.complete(message_id, text_of(data.get("content")))

    def _deltas(self, message_id: str, parts: object) -> Iterator[tuple[str, str]]:
        for part in map(lenient_mapping, parts if isinstance(parts, list) else [parts]):
            yield message_id, self._texts.add(message_id, part.get("index"), text_of([part]))
