"""Invariant: a call is requested at most once, unless the server shows it for so long that it is taken for new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """If any call was requested again, yield a sentence with all calls and the number of requests for each call."""
    requested = Counter(event.id for event in facts.happened if isinstance(event, events.ToolCallRequested))
    if not facts.repeats_rounds and any(count > 1 for count in requested.values()):
        yield f"tool calls were requested more than once: {requested}"
