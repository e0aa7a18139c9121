"""Invariant: each requested approval is decided once or still open; without a request, only a rule denies a call."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each approval that is never decided or requested again while open, and each unrequested decision."""
    waiting = set[str]()
    for event in facts.happened:
        match event:
            case events.ToolApprovalRequested(id=call_id):
                if call_id in waiting:
                    yield f"an approval of the call {call_id} was requested again before it was decided"
                waiting.add(call_id)
            case events.ToolApproved(id=call_id) | events.ToolDenied(id=call_id):
                denied_by_rule = isinstance(event, events.ToolDenied) and facts.verdicts.get(call_id) is False
                if call_id not in waiting and not denied_by_rule:
                    yield f"a decision about the call {call_id} was announced that was not requested"
                waiting.discard(call_id)
    calls = () if facts.saved is None else facts.saved.snapshot.calls
    for call_id in waiting - {call.id for call in calls if call.waits_for_a_person}:
        yield f"the approval of the call {call_id} was never decided"
