"""Invariant: a started function's result is the output of its call, if the outcome is known and the arguments fit."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.functions import WRONG_ARGUMENTS

__all__ = ["check"]


def check(facts: Facts) -> Iterator[str]:
    """Yield each output of a started call that is not the result of an execution of the function."""
    started, excused = set[str](), set[str]()
    for event in facts.happened:
        match event:
            case events.ToolStarted(id=call_id):
                started.add(call_id)
            case events.ToolOutcomeUnknown(id=call_id):
                excused.add(call_id)
            case events.ToolCallRequested(id=call_id, arguments=arguments) if arguments == json.loads(WRONG_ARGUMENTS):
                excused.add(call_id)
            case events.ToolCallRequested(id=call_id):
                # If the server shows an old round for long, its calls are requested again. A user may then answer them.
                started.discard(call_id)
            case events.ToolCallOutputRecorded(id=call_id, output=output) if call_id in started - excused:
                numbers = [each.number for each in facts.executions if each.call_id == call_id]
                said = json.loads(output)
                number = said.get("execution", numbers[0]) if numbers and isinstance(said, dict) else None
                if number not in numbers:
                    yield f"the output of the call {call_id} is not the result of its function: {output}"
