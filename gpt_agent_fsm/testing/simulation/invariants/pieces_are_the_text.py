"""Invariant: the pieces of a message come in order, before the message, and are parts of the text of their run."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each piece that is wrong.

    In a life, each piece of a message except the last is one character, so the number of a piece is its place in the
    text. The first piece that an agent announces may have any number, because another process may have announced the
    earlier pieces.
    """
    next_places: dict[tuple[int, str], int | None] = {}
    for agent, event in facts.pieces:
        if isinstance(event, events.AssistantMessageAdded):
            next_places[agent, event.message_id] = None
        elif isinstance(event, events.AssistantMessageDelta):
            place = next_places.get((agent, event.message_id), event.index)
            run_id, text = facts.streamed.get(event.message_id, ("", ""))
            if place is None:
                yield f"piece {event.index} of {event.message_id} came after the message"
            elif place != event.index:
                yield f"piece {event.index} of {event.message_id} came instead of piece {place}"
            elif run_id != event.run_id or not text.startswith(event.text, event.index) or not event.text:
                yield f"piece {event.index} of {event.message_id} is not the text of its run at this place"
            next_places[agent, event.message_id] = None if place is None else event.index + 1
