"""The Responses API in memory, with streams of its responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.faulty_stream import SentEvent
from gpt_agent_fsm.testing.steps import Answer

__all__ = ["StreamedConversations"]

_ACTIVE = ("queued", "in_progress", "cancelling")


class StreamedConversations(SimulatedConversations):
    """Conversations whose responses can be read as streams."""

    def events(self, response_id: str, after: int, hurries: Callable[[], bool]) -> Iterator[SentEvent | None]:
        """Yield the events of a response whose numbers are higher than `after`, and None when the server is silent.

        `hurries` returns whether reading a silent stream makes the run take its next step; see `StreamFaults.hurry`.
        """
        response, number = self._response(response_id), after + 1
        sent = response.setdefault("events", [("response.created", {"response": self._view(response)})])
        while True:
            while number < len(sent):
                name, data = sent[number]
                yield name, {"type": name, "sequence_number": number, **data}
                number += 1
            if sent[-1][0] == f"response.{response['status']}":
                return
            if not self._say_more(response, sent):
                if hurries():
                    self._progress(response)
                if not self._say_more(response, sent):
                    yield None

    def _say_more(self, response: dict[str, Any], sent: list[SentEvent]) -> bool:
        """Let a response send its next event. Return False if it has no event to send."""
        if response["status"] not in _ACTIVE:
            sent.append((f"response.{response['status']}", {"response": self._view(response)}))
            return True
        conversation = self._conversations[response["conversation"]]
        step = conversation.steps[0] if conversation.steps else None
        if response["status"] == "cancelling" or not isinstance(step, Answer) or not step.text:
            return False
        message_id = conversation.message_id = conversation.message_id or self._new_id("msg")
        self.streamed[message_id] = response["run"], step.text
        place = sum(data.get("item_id") == message_id for _, data in sent)
        if place == len(step.text):
            self._progress(response)
            return self._say_more(response, sent)
        fields = {"item_id": message_id, "content_index": 0, "delta": step.text[place]}
        sent.append(("response.output_text.delta", fields))
        return True
