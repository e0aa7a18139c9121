"""The tool calls of one round of a run, each found by its id.

A run may ask for thousands of calls at once, and each of them changes several times. So the calls that are still open
are known without a look at the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from gpt_agent_fsm.machine.objects import CallStage, ToolCall

__all__ = ["NO_CALLS", "ToolCalls", "as_tool_calls"]


@attrs.frozen(eq=False)
class ToolCalls:
    """Tool calls in the order in which the run names them. The id of each call is unique.

    Attributes:
        by_id: all calls, by id.
        open: the calls without an output that the run names, by id, in the same order.
        staged: the calls without an output that wait for more than an output, by id, in the same order. Their function
            runs, or may run next; a person must decide about them; or the server makes them.
    """

    by_id: Mapping[str, ToolCall]
    open: Mapping[str, ToolCall] = attrs.field(repr=False)
    staged: Mapping[str, ToolCall] = attrs.field(repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ToolCalls):
            return NotImplemented
        # Dicts are equal even if their order differs.
        return self is other or tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[ToolCall]:
        return iter(self.by_id.values())

    def replace(self, call: ToolCall) -> ToolCalls:
        """Return the calls with this one in the place of the call with the same id."""
        by_id = {**self.by_id, call.id: call}
        return ToolCalls(
            by_id,
            _changed(self.open, call, by_id, belongs=_is_open(call)),
            _changed(self.staged, call, by_id, belongs=_is_staged(call)),
        )


def _is_open(call: ToolCall) -> bool:
    return call.output is None and not call.unlisted


def _is_staged(call: ToolCall) -> bool:
    return call.output is None and (call.by_server or call.stage is not CallStage.OPEN)


def _changed(
    calls: Mapping[str, ToolCall], call: ToolCall, every: Iterable[str], *, belongs: bool
) -> Mapping[str, ToolCall]:
    """Return these calls with this one, or without it. `every`: the ids of all calls, in their order."""
    is_known = call.id in calls
    if not belongs and not is_known:
        return calls
    changed = {**calls, call.id: call}
    if not belongs:
        del changed[call.id]
    elif not is_known:
        changed = {call_id: changed[call_id] for call_id in every if call_id in changed}
    return changed


def as_tool_calls(calls: Iterable[ToolCall]) -> ToolCalls:
    """Return these calls as `ToolCalls`. Of calls with the same id, the last one is kept."""
    if isinstance(calls, ToolCalls):
        return calls
    by_id = {call.id: call for call in calls}
    is_open = {call.id: call for call in by_id.values() if _is_open(call)}
    return ToolCalls(by_id, is_open, {call.id: call for call in by_id.values() if _is_staged(call)})


NO_CALLS = as_tool_calls(())
