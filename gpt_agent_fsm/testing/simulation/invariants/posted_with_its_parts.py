"""Invariant: on the server and in the history, a message has the images and files that the user sent."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.events.parts import plain_text
from gpt_agent_fsm.machine.likeness import without_data
from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.pictures import word_of

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each message whose parts on the server or in the history are not those that the user sent."""
    sent = {word: tuple(map(without_data, parts)) for word, parts in facts.parts.items()}
    for message in facts.messages:
        word, posted = word_of(message), tuple(map(without_data, message.parts))
        expected = sent.get(word, plain_text(word))
        if message.role == "user" and posted != expected:
            yield f"message {word!r} was posted as {posted} and not as {expected}"
    for event in facts.happened:
        if isinstance(event, events.UserMessageAdded) and event.parts and event.parts not in sent.values():
            yield f"the history has a message with {event.parts}, which nobody sent"
