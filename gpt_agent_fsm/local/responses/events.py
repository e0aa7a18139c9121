"""The events of one response in a stream of the Responses API, in the documented order.

A client may follow the response live or read it afterwards. The events and their numbers are the same in both cases. So
a client that was disconnected can continue after the last event that it received.
"""

from collections.abc import Iterable, Iterator

from gpt_agent_fsm.local.http import streams
from gpt_agent_fsm.local.http.error_responses import ApiProblem, closing
from gpt_agent_fsm.local.http.streams import Event
from gpt_agent_fsm.local.responses import item_events, items, lifecycle
from gpt_agent_fsm.local.shared.clip import Clip
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, StorageClosedError

_ENDS = frozenset({"error", *(f"response.{status}" for status in ("completed", "failed", "incomplete", "cancelled"))})
"""The names of the events that end a stream."""


class ResponseEvents:
    """The events of one response.

    If `turn` is given, the response is in progress, and the events come from the turn. Otherwise they come from the
    stored response and from `chunks`, the pieces of its text. If `can_repeat` is false, these pieces are lost, so not
    all events that clients have seen can be sent again. Even then, every client gets the last event.
    """

    def __init__(
        self,
        storage: Storage,
        response: Doc,
        turn: LiveTurn | None,
        chunks: list[str],
        after: int = -1,
        *,
        can_repeat: bool = True,
    ) -> None:
        self._storage = storage
        self._response = response
        self._turn = turn
        self._chunks = chunks
        self._after = after
        self._can_repeat = can_repeat
        self._clip = Clip(response["max_output_tokens"])
        self._item_id = "" if turn is None else turn.message_id
        if turn is None:
            self._item_id = next((item["id"] for item in response["output"] if item["type"] == "message"), "")

    def __iter__(self) -> Iterator[Event | None]:
        """Yield the events with numbers above `after` as soon as they happen, and None during pauses.

        If a client has seen more events than there are now, it still gets the last event, whose number is one above the
        last that the client has seen.
        """
        number = 0
        for event in self._failing():
            if event is None:
                yield None
                continue
            name, fields = event
            is_new = number > self._after
            if not is_new and name in _ENDS:
                is_new = number < self._after or name == "error" or not self._can_repeat
            if is_new:
                yield name, {"type": name, "sequence_number": max(number, self._after + 1)} | fields
            number += 1

    def _failing(self) -> Iterator[tuple[str, Doc] | None]:
        try:
            yield from self._events()
        except StorageClosedError:
            yield _error(closing())
        except ApiProblem as problem:
            yield _error(problem)

    def _events(self) -> Iterator[tuple[str, Doc] | None]:
        yield "response.created", self._as("queued")
        yield "response.queued", self._as("queued")
        chunks: Iterable[str | None] = (
            ["", *self._chunks] if self._turn is None else self._turn.follow(streams.KEEP_ALIVE)
        )
        for chunk in chunks:
            if chunk is None:
                yield None
            elif chunk == "":
                yield "response.in_progress", self._as("in_progress")
            else:
                yield from self._streamed(chunk)
        response = lifecycle.result(self._storage, self._response["id"], self._turn)
        for index, item in enumerate(response["output"]):
            if item["type"] == "message":
                yield from self._message_ends(index, item)
            else:
                yield from item_events.of_item(index, item)
        yield f"response.{response['status']}", {"response": response}

    def _as(self, status: str) -> Doc:
        """Return the response with this status, in the form that it had before it got any output."""
        nothing: Doc = {"output": [], "usage": None, "error": None, "incomplete_details": None, "completed_at": None}
        return {"response": self._response | nothing | {"status": status}}

    def _streamed(self, text: str) -> Iterator[tuple[str, Doc]]:
        first = not self._clip.length
        piece = self._clip(text)
        if first:
            yield self._message_begins(0)
            yield _part_begins(self._place(0, 0), items.output_text_part(""))
        if piece:
            yield _delta(self._place(0, 0), piece)

    def _message_begins(self, index: int) -> tuple[str, Doc]:
        item = items.answer(self._item_id, [], "in_progress")
        return "response.output_item.added", {"output_index": index, "item": item}

    def _message_ends(self, index: int, item: Doc) -> Iterator[tuple[str, Doc]]:
        is_begun = bool(self._clip.length)
        if not is_begun:
            yield self._message_begins(index)
        for content_index, part in enumerate(item["content"]):
            place = self._place(index, content_index)
            if part["type"] == "refusal":
                yield _part_begins(place, part | {"refusal": ""})
                yield "response.refusal.delta", place | {"delta": part["refusal"]}
                yield "response.refusal.done", place | {"refusal": part["refusal"]}
            else:
                if not is_begun:
                    yield _part_begins(place, items.output_text_part(""))
                yield from _text_ends(place, part, part["text"][self._clip.length :])
            yield "response.content_part.done", place | {"part": part}
        yield "response.output_item.done", {"output_index": index, "item": item}

    def _place(self, index: int, content_index: int) -> Doc:
        return {"item_id": self._item_id, "output_index": index, "content_index": content_index}


def _part_begins(place: Doc, part: Doc) -> tuple[str, Doc]:
    return "response.content_part.added", place | {"part": part}


def _delta(place: Doc, text: str) -> tuple[str, Doc]:
    return "response.output_text.delta", place | {"delta": text, "logprobs": []}


def _text_ends(place: Doc, part: Doc, rest: str) -> Iterator[tuple[str, Doc]]:
    if rest:
        yield _delta(place, rest)
    for index, annotation in enumerate(part["annotations"]):
        added = {"annotation_index": index, "annotation": annotation}
        yield "response.output_text.annotation.added", place | added
    yield "response.output_text.done", place | {"text": part["text"], "logprobs": []}


def _error(problem: ApiProblem) -> tuple[str, Doc]:
    return "error", {"code": problem.code or problem.kind, "message": problem.message, "param": problem.param}
