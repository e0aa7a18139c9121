"""Makes the single requests on a conversation and its responses. All requests of an operation share its limits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_fsm.backends.http import HttpClient, segment
from gpt_agent_fsm.backends.http.event_stream import EventStream
from gpt_agent_fsm.backends.http.exchange import limits_of
from gpt_agent_fsm.backends.http.outcomes import as_refusal, unusable
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.responses.known_metadata import KnownMetadata
from gpt_agent_fsm.backends.responses.refusals import says_it_is_over
from gpt_agent_fsm.backends.responses.streaming import first_response
from gpt_agent_fsm.backends.responses.tail import Tail
from gpt_agent_fsm.backends.shared.order import ListOrder
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY
from gpt_agent_fsm.backends.shared.values import is_another_id
from gpt_agent_fsm.errors import ApiError, RequestRefused
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.ports import Timeout

__all__ = ["Conversation"]

log: Log = get_logger(__name__)

_PAGE = 100
_MAX_ITEMS = 20


class Conversation:
    """One conversation during one operation of the backend. All its requests share the limits of the operation.

    Args:
        streams: the switch that creates a response as a stream if the server can do this; None if a response should not
            be a stream.

    Attributes:
        events: the stream of the response that was created; None without one.
        last_event: the number of the last event that was read from the stream; None without a number.
    """

    def __init__(
        self,
        http: HttpClient,
        thread_id: str,
        timeout: Timeout,
        order: ListOrder,
        known_metadata: KnownMetadata,
        *,
        streams: StreamSwitch | None = None,
    ) -> None:
        self._streams = streams
        self.events: EventStream | None = None
        self.last_event: int | None = None
        self._http = http
        self._order = order
        self._known_metadata = known_metadata
        self._thread_id = thread_id
        self._path = f"/conversations/{segment(thread_id)}"
        self._limits = limits_of(timeout)

    def metadata(self) -> Mapping[str, Any]:
        """Return the conversation's metadata.

        Raises `RequestRefused` if there is no such conversation, and `TransientError` if the metadata cannot be read.
        """
        conversation = self._http.get(self._path, wire.Conversation, timeout=self._limits)
        if is_another_id(conversation.id, self._thread_id):
            # Otherwise the next note would give this conversation the metadata of another one.
            raise self._mixed_up("GET", f"another conversation ({conversation.id})")
        metadata = conversation.metadata
        if metadata is None:
            # If they counted as empty, a run that they name would be missed, and the next note would delete them.
            sentence = f"The metadata of {self._thread_id} cannot be read: they are not an object."
            raise unusable("GET", 200, sentence, unreadable=True)
        self._known_metadata.read(self._thread_id, metadata)
        return metadata

    # --- items ------------------------------------------------------------------------------------------------

    def items(self, *, after: str | None = None, newest_first: bool = True) -> wire.ItemPage:
        """Return a page of items in the requested order, even if the server ignores the order."""
        page = self._items(after, "desc" if newest_first else "asc")
        if not newest_first or after is not None:
            return page
        return self._order.newest_first(
            page, oldest=lambda: self._items(None, "asc"), after=lambda last: self._items(last, "desc")
        )

    def _items(self, after: str | None, order: str) -> wire.ItemPage:
        params = {"limit": str(_PAGE), "order": order}
        if after is not None:
            params["after"] = after
        return self._http.get(f"{self._path}/items", wire.ItemPage, params=params, timeout=self._limits)

    def tail(self) -> Tail:
        """Return the tail of the conversation, made from its newest items."""
        return Tail.of(self.items().data)

    def add(self, items: Sequence[Mapping[str, Any]]) -> Sequence[wire.Item]:
        """Add at most 20 items, and return them as the server has stored them."""
        return self._http.post(f"{self._path}/items", {"items": items}, wire.Added, timeout=self._limits).data

    def close_items(self, items: Sequence[wire.Item]) -> None:
        """Close items that would otherwise never be answered, so that the conversation can continue."""
        closing = [item.closing for item in items if item.closing is not None]
        for start in range(0, len(closing), _MAX_ITEMS):
            self.add(closing[start : start + _MAX_ITEMS])

    # --- responses --------------------------------------------------------------------------------------------

    def response(self, response_id: str) -> wire.Response:
        """Return the current state of a response."""
        return self._checked("GET", self._http.get(_response(response_id), wire.Response, timeout=self._limits))

    def create(self, body: Mapping[str, Any]) -> wire.Response:
        """Create a response."""
        try:
            return self._checked_new(self._create(body), body)
        except BaseException:
            self.close_stream()
            raise

    def _create(self, body: Mapping[str, Any]) -> wire.Response:
        def plainly() -> wire.Response:
            return self._http.post("/responses", body, wire.Response, timeout=self._limits)

        if self._streams is None:
            return plainly()
        return self._streams.make(str(body["model"]), lambda: self._create_streamed(body), plainly)

    def _create_streamed(self, body: Mapping[str, Any]) -> wire.Response:
        answer = self._http.stream("POST", "/responses", {**body, "stream": True}, wire.Response, timeout=self._limits)
        if isinstance(answer, wire.Response):
            return answer
        self.events = answer
        response, self.last_event = first_response(answer, self._limits)
        return response

    def close_stream(self) -> None:
        """Close the stream of the response, if there is one."""
        if self.events is not None:
            self.events.close()
            self.events = None

    def _checked_new(self, response: wire.Response, body: Mapping[str, Any]) -> wire.Response:
        self._checked("POST", response)
        for name in (METADATA_KEY, wire.RUN):
            # Not every server keeps metadata.
            sent = body["metadata"].get(name)
            if sent is not None and response.metadata.get(name, sent) != sent:
                raise self._mixed_up("POST", f"a response with another {name}")
        return response

    def _checked(self, method: str, response: wire.Response) -> wire.Response:
        """Return the response. Raise an error if it belongs to another conversation."""
        if is_another_id(response.conversation, self._thread_id):
            raise self._mixed_up(method, f"another conversation ({response.conversation})")
        return response

    def _mixed_up(self, method: str, about: str) -> ApiError:
        """Return the error to raise if a proxy or connection has mixed up the answers to two requests."""
        sentence = f"The answer to {method} for {self._thread_id} is about {about}."
        return unusable(method, 200, sentence, unreadable=True)

    def stream_of(self, response_id: str, after: int | None) -> EventStream | None:
        """Return the events of a response after the event with this number. Return None if there is no stream."""
        params = {"stream": "true", **({} if after is None else {"starting_after": str(after)})}
        answer = self._http.stream(
            "GET", _response(response_id), None, wire.Response, params=params, timeout=self._limits
        )
        return answer if isinstance(answer, EventStream) else None

    def cancel(self, response_id: str) -> wire.Response:
        """Cancel a response. Raises `RequestRefused` if the response has ended."""
        try:
            path = f"{_response(response_id)}/cancel"
            return self._checked("POST", self._http.post(path, {}, wire.Response, timeout=self._limits))
        except ApiError as error:
            if not says_it_is_over(error):
                raise
            raise as_refusal(error) from error

    def outputs_given_to(self, response_id: str) -> dict[str, Mapping[str, Any]] | None:
        """Return the answers in a response's input, by the ids of their calls; None if the input is not known."""
        path, params = f"{_response(response_id)}/input_items", {"limit": str(_PAGE), "order": "desc"}
        try:
            items = self._http.get(path, wire.ItemPage, params=params, timeout=self._limits).data
        except RequestRefused:
            return None
        # Some servers list the whole conversation here. The response's own input is at its end.
        own = list(itertools.takewhile(lambda item: item.answered_id is not None, items))[::-1]
        return {item.answered_id: again for item in own if item.answered_id and (again := item.as_answer) is not None}

    # --- the note -----------------------------------------------------------------------------------------------

    def leave_note(self, response_id: str, *, durable: bool) -> None:
        """Write the id of the last response into the conversation's metadata.

        By this id, a program without this store finds the run. If a `durable` store keeps the id, the note is not
        needed. But if the conversation has a note already, it is renewed, because an old note leads to an old run.
        """
        known = self._known_metadata
        try:
            last = known.last(self._thread_id)
            if durable and wire.RUN not in (self.metadata() if last is None else last):
                return
            before = known.get(self._thread_id)
            metadata = {**(self.metadata() if before is None else before), wire.RUN: response_id}
            self._http.post(self._path, {"metadata": metadata}, wire.Conversation, timeout=self._limits)
            known.written(self._thread_id, metadata)
        except ApiError as error:
            # The run continues even if this has failed, because this program knows the id of the run.
            known.forget(self._thread_id)
            log.debug("%s: could not note %s in the metadata: %s", self._thread_id, response_id, error)


def _response(response_id: str) -> str:
    return f"/responses/{segment(response_id)}"
