"""Finds what a thread waits for, and records the thread's last failure. Both are shown to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.arguments import announced_arguments
from gpt_agent_fsm.machine.objects import BUDGET_EXCEEDED, Failure, ToolCall
from gpt_agent_fsm.machine.snapshot import Snapshot, Waiting
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.working_copy import WorkingCopy

__all__ = [
    "asking_calls",
    "note_failure",
    "only_a_person_is_waited_for",
    "open_approvals",
    "open_calls",
    "waiting_calls",
    "waits_for_the_same",
    "with_waiting",
]

_ANSWERS = (inputs.RunsListed, inputs.MessagePosted, inputs.RunCreated, inputs.RunSeen, inputs.MessagesListed)
_Asked = TypeVar("_Asked", events.ToolCallRequested, events.ToolApprovalRequested)
_RATE_LIMITED = "rate_limit_exceeded"


def waiting_calls(snapshot: Snapshot) -> tuple[ToolCall, ...]:
    """Return the tool calls without an output that the run waits for."""
    return tuple(snapshot.calls.open.values()) if _waits_for_tools(snapshot) else ()


def asking_calls(snapshot: Snapshot) -> tuple[ToolCall, ...]:
    """Return the tool calls about which a person must decide while the run waits for outputs."""
    if not snapshot.calls.staged or not _waits_for_tools(snapshot):
        return ()
    return tuple(call for call in snapshot.calls.staged.values() if call.waits_for_a_person)


def _waits_for_tools(snapshot: Snapshot) -> bool:
    return snapshot.run is not None and snapshot.state is State.AWAITING_TOOLS


def _announced(kind: type[_Asked], snapshot: Snapshot, calls: Iterable[ToolCall]) -> tuple[_Asked, ...]:
    return tuple(
        kind(
            id=call.id,
            thread_id=snapshot.thread_id,
            run_id=snapshot.run_id or "",
            name=call.name,
            arguments=announced_arguments(call.arguments),
        )
        for call in calls
    )


def open_calls(snapshot: Snapshot) -> tuple[events.ToolCallRequested, ...]:
    """Return a `ToolCallRequested` for each tool call that accepts an output."""
    calls = (call for call in waiting_calls(snapshot) if call.takes_output)
    return _announced(events.ToolCallRequested, snapshot, calls)


def open_approvals(
    snapshot: Snapshot, commands: Iterable[inputs.Command] = ()
) -> tuple[events.ToolApprovalRequested, ...]:
    """Return a `ToolApprovalRequested` for each tool call that waits for a person.

    Calls that one of `commands` decides are left out. These are accepted, but not carried out yet.
    """
    decisions = (each for each in commands if isinstance(each, inputs.ApproveToolCall | inputs.DenyToolCall))
    decided = {each.tool_call_id for each in decisions}
    calls = (call for call in asking_calls(snapshot) if call.id not in decided)
    return _announced(events.ToolApprovalRequested, snapshot, calls)


def only_a_person_is_waited_for(snapshot: Snapshot) -> bool:
    """Return whether every open call waits for a person."""
    asking = [call for call in asking_calls(snapshot) if not call.unlisted]
    return bool(asking) and len(asking) == len(snapshot.calls.open)


def waits_for_the_same(before: Snapshot, after: Snapshot) -> bool:
    """Return whether both snapshots wait for the same thing, or both for nothing."""
    if _thing(before) != _thing(after):
        return False
    if after.run is None or before.run is None or before.run.calls is after.run.calls:
        return True
    old, new = before.run.calls, after.run.calls
    stages = [{call.id: call.stage for call in calls.staged.values()} for calls in (old, new)]
    return stages[0] == stages[1] and old.open.keys() == new.open.keys()


def _thing(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what the thread waits for, without the calls of its run; () if it waits for nothing."""
    if snapshot.settled:
        return ()
    run, owed, turn = snapshot.run, snapshot.outbox.owed, snapshot.outbox.turn
    if run is not None:
        return (snapshot.state, run.id)
    if owed is not None and turn is not None:
        return ("creation", turn.run_key)
    if snapshot.cursor.reading is not None:
        return ("messages", snapshot.cursor.reading.run_id)
    return ("message", snapshot.queue.head.key) if snapshot.queue else ("request",)


def with_waiting(before: Snapshot, after: Snapshot, at: float) -> Snapshot:
    """Return `after` with the right value of `waiting`.

    If `before` waited for something else, a new wait begins at `at` (epoch seconds).
    """
    if after.run is before.run and after.state is before.state is State.RUNNING and after.waiting is not None:
        return after  # between two polls
    waits = bool(_thing(after))
    if (after.waiting is None) is not waits and waits_for_the_same(before, after):
        return after
    waiting = Waiting(since=at) if waits else None
    return after if waiting == after.waiting else attrs.evolve(after, waiting=waiting)


def note_failure(copy: WorkingCopy, input_: inputs.Input) -> None:
    """Record the last failure that the events of this input announce.

    If the input is the server's answer to a request, clear the failure of an earlier request first.
    """
    failure = copy.failure
    if failure is not None and failure.operation is not None and isinstance(input_, _ANSWERS):
        ignored = any(isinstance(effect, effects.Ignore) for effect in copy.effects)
        failure = failure if ignored else None
    for event in copy.events:
        failure = _failure_after(event, failure)
    copy.failure = failure


def _failure_after(event: events.Event, failure: Failure | None) -> Failure | None:
    match event:
        case events.RequestFailed(code=code, message=message, operation=operation):
            failure = Failure(code=code, message=message, operation=operation)
        case events.RunFailed(code=code, message=message):
            failure = Failure(code=code, message=message)
        case events.BudgetExceeded(used=used, limit=limit):
            failure = Failure(code=BUDGET_EXCEEDED, message=f"{used:,} tokens were used; the limit is {limit:,}.")
        case events.RateLimited():
            failure = Failure(code=_RATE_LIMITED, message="The run was rate limited.")
        case events.RateLimitRetriesExhausted():
            failure = Failure(code=_RATE_LIMITED, message="The run was rate limited, and no retries are left.")
        case events.RunStarted() | events.RunCompleted():
            failure = None
        case _:
            pass
    return failure
