"""The functions that answer tool calls in the kill test, and the check of these calls at the end of the test.

Each run of a function writes a line into a file. The check compares these lines with the history.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.local import ToolCall
from gpt_agent_fsm.tools import Tool, ToolContext, tool

__all__ = ["calls_for", "functions", "tool_violations"]

_LONGEST = 0.05
_BY_HAND, _ONCE, _AGAIN = "by_hand", "once", "again"
_CALLS = {"0": (_BY_HAND,), "2": (_ONCE,), "4": (_AGAIN,), "6": (_ONCE, _AGAIN, _BY_HAND), "8": (_ONCE, _ONCE)}


def calls_for(message: str) -> list[ToolCall]:
    """Return the tool calls of the run that answers this message."""
    return [ToolCall(name, {}) for name in _CALLS.get(message[-1], ())]


def functions(note: Callable[[str], object]) -> list[Tool[..., Any]]:
    """Return the functions that answer tool calls.

    The function `once` must run at most once per call. `again` may run more often. `note(line)` writes a line into a
    file. The line is kept even if the process is killed immediately after `note` returns.
    """

    def run(context: ToolContext) -> int:
        note(context.call_id)
        # The process may be killed before the function has returned its output.
        threading.Event().wait(random.uniform(0.0, _LONGEST))  # noqa: S311 - a length of time
        return context.attempt

    def once(context: ToolContext) -> int:
        return run(context)

    def again(context: ToolContext) -> int:
        return run(context)

    return [tool(once), tool(retry="safe")(again)]


@attrs.define
class _Call:
    name: str
    starts: int = 0
    outputs: int = 0
    is_unknown: bool = False


def tool_violations(history: Iterable[events.Event], lines: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Compare the history of all threads with the lines that the functions wrote. Return the violations, and counts."""
    calls: dict[str, _Call] = {}
    for event in history:
        match event:
            case events.ToolCallRequested(id=call_id, name=name):
                calls[call_id] = _Call(name)
            case events.ToolStarted(id=call_id):
                calls[call_id].starts += 1
            case events.ToolCallOutputRecorded(id=call_id):
                calls[call_id].outputs += 1
            case events.ToolOutcomeUnknown(id=call_id):
                calls[call_id].is_unknown = True
            case _:
                pass
    runs = Counter(lines)
    wrong = [f"a function ran for the call {call_id}, which was never requested" for call_id in runs.keys() - calls]
    for call_id, call in calls.items():
        ran, what = runs[call_id], f"the call {call_id} of {call.name}"
        if call.outputs != 1:
            wrong.append(f"{what} has {call.outputs} outputs")
        if call.name == _BY_HAND:
            continue
        if ran > 1 and call.name == _ONCE:
            wrong.append(f"{what} ran {ran} times")
        if ran > call.starts:
            wrong.append(f"{what} ran {ran} times and was started {call.starts} times")
        if ran == 0 and not call.is_unknown:
            wrong.append(f"{what} never ran, and nobody was told")
    counts = Counter(
        {
            "calls of functions": sum(call.name != _BY_HAND for call in calls.values()),
            "functions run": runs.total(),
            "functions run again": sum(ran > 1 for ran in runs.values()),
            "outcomes unknown": sum(call.is_unknown for call in calls.values()),
        }
    )
    return wrong, counts
