"""Invariant: an assistant message of a completed run is published exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each message that was skipped or published again."""
    completed = {event.id for event in facts.happened if isinstance(event, events.RunCompleted)}
    # If the faults violate the model, a run that was found by its messages may seem completed and still continue.
    allowed = (1,) if facts.strict or facts.lists_runs else (0, 1)
    published = Counter(event.message_id for event in facts.happened if isinstance(event, events.AssistantMessageAdded))
    for message in facts.messages:
        is_answer = message.role == "assistant" and message.run_id in completed
        if is_answer and published[message.id] not in allowed:
            yield f"assistant message {message.id} was published {published[message.id]} times"
