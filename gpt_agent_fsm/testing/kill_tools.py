"""The functions that answer tool calls in the kill test, and the check of these calls at the end of the test.

Each run of a function writes a line into a file. The check compares these lines with the history.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.local import ToolCall
from gpt_agent_fsm.tools import Tool, ToolContext, tool

__all__ = ["BY_HAND", "calls_for", "functions", "is_denied", "tool_violations"]

_LONGEST = 0.05
BY_HAND, _ONCE, _AGAIN, _APPROVED = "by_hand", "once", "again", "approved"
_CALLS = {"0": (BY_HAND,), "2": (_ONCE,), "4": (_AGAIN,), "6": (_ONCE, _AGAIN, BY_HAND), "8": (_ONCE, _ONCE)}
_CALLS_WITH_APPROVALS = _CALLS | {"1": (_APPROVED,), "5": (_APPROVED, BY_HAND)}


def calls_for(message: str, *, approvals: bool = False) -> list[ToolCall]:
    """Return the tool calls of the run that answers this message. `approvals`: True if some need an approval."""
    calls = _CALLS_WITH_APPROVALS if approvals else _CALLS
    return [ToolCall(name, {}) for name in calls.get(message[-1], ())]


def is_denied(call_id: str) -> bool:
    """Return whether a person would deny this call."""
    return zlib.crc32(call_id.encode()) % 4 == 0


def functions(note: Callable[[str], object]) -> list[Tool[..., Any]]:
    """Return the functions that answer tool calls.

    The functions `once` and `approved` must run at most once per call, and `approved` only with an approval. `again`
    may run more often. `note(line)` writes a line into a
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

    def approved(context: ToolContext) -> int:
        return run(context)

    return [tool(once), tool(retry="safe")(again), tool(approve=True)(approved)]


@attrs.define
class _Call:
    name: str
    starts: int = 0
    outputs: int = 0
    is_unknown: bool = False
    is_denied: bool = False


def tool_violations(history: Iterable[events.Event], lines: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Compare the history of all threads with the lines that the functions wrote. Return the violations, and counts."""
    calls, runs = _calls_in(history), Counter(lines)
    wrong = [f"a function ran for the call {call_id}, which was never requested" for call_id in runs.keys() - calls]
    for call_id, call in calls.items():
        what = f"the call {call_id} of {call.name}"
        if call.outputs != 1:
            wrong.append(f"{what} has {call.outputs} outputs")
        if call.name != BY_HAND:
            wrong += [f"{what} {sentence}" for sentence in _wrong_runs(call, runs[call_id])]
    counts = Counter(
        {
            "calls of functions": sum(call.name != BY_HAND for call in calls.values()),
            "functions run": runs.total(),
            "functions run again": sum(ran > 1 for ran in runs.values()),
            "denied": sum(call.is_denied for call in calls.values()),
            "outcomes unknown": sum(call.is_unknown for call in calls.values()),
        }
    )
    return wrong, counts


def _calls_in(history: Iterable[events.Event]) -> dict[str, _Call]:
    calls: dict[str, _Call] = {}
    for event in history:
        match event:
            case events.ToolCallRequested(id=call_id, name=name) | events.ToolApprovalRequested(id=call_id, name=name):
                calls.setdefault(call_id, _Call(name))
            case events.ToolStarted(id=call_id):
                calls[call_id].starts += 1
            case events.ToolCallOutputRecorded(id=call_id):
                calls[call_id].outputs += 1
            case events.ToolOutcomeUnknown(id=call_id):
                calls[call_id].is_unknown = True
            case events.ToolDenied(id=call_id):
                calls[call_id].is_denied = True
            case _:
                pass
    return calls


def _wrong_runs(call: _Call, ran: int) -> Iterator[str]:
    """Yield what is wrong with the number of times that the function ran for a call."""
    if ran and call.is_denied:
        yield "was denied and ran"
    if ran > 1 and call.name != _AGAIN:
        yield f"ran {ran} times"
    if ran > call.starts:
        yield f"ran {ran} times and was started {call.starts} times"
    if ran == 0 and not (call.is_unknown or call.is_denied):
        yield "never ran, and nobody was told"
