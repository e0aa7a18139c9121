"""Invariant: each call that the client must answer has one output, unless its run has ended or was given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]

_OF_A_RUN = ("get_run", "submit_tool_outputs", "cancel_run")


def check(facts: Facts) -> Iterator[str]:
    """Yield each call with too few or too many outputs."""
    happened = facts.happened
    outputs = Counter(event.id for event in happened if isinstance(event, events.ToolCallOutputRecorded))
    requested = Counter(event.id for event in happened if isinstance(event, events.ToolCallRequested))
    runs = {event.id: event.run_id for event in happened if isinstance(event, events.ToolCallRequested)}
    ended = _ended_runs(facts)
    for call_id, count in requested.items():
        wanted = 0 if call_id in facts.calls_by_server else count
        if outputs[call_id] > wanted or (outputs[call_id] < wanted and runs[call_id] not in ended):
            yield f"the call {call_id} was requested {count} times and has {outputs[call_id]} outputs"


def _ended_runs(facts: Facts) -> set[str | None]:
    """Return the ids of the runs that have ended, or that the library left because it gave up a request about them."""
    ended = set[str | None]()
    current: str | None = None
    for event in facts.happened:
        match event:
            case events.RunCompleted(id=run_id) | events.RunFailed(id=run_id) | events.RateLimited(run_id=run_id):
                ended.add(run_id)
            case events.ToolCallRequested(run_id=run_id):
                current = run_id
            case events.RequestFailed(operation=operation, will_retry=False) if operation in _OF_A_RUN:
                ended.add(current)
    return ended
