"""The guards (conditions of rows in the machine's table) for tool calls, and for runs that wait for them."""

from __future__ import annotations

from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.arguments import BROKEN, decode_arguments
from gpt_agent_fsm.machine.failure_guards import was_a_cancel, was_a_submission
from gpt_agent_fsm.machine.objects import CallStage, Run, ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.working_copy import WorkingCopy

_MIN_STALE_POLLS = 5
_STALE_SECONDS = 2.0
"""The seconds during which a server may show an outdated state of a run, even if there are many polls in this time."""


def known_call(copy: WorkingCopy, call: ToolCall) -> ToolCall | None:
    """Return the recorded call that equals `call`, or None for a new call.

    Some servers reuse the ids of calls when the run asks for calls again. So the name and the arguments must be equal,
    too. But while a function runs, or a person decides, its call is not over, and no other call can have its id.
    """
    known = copy.calls.by_id.get(call.id)
    if known is None:
        return None
    has_begun = call.id in copy.calls.staged and known.name == call.name
    return known if has_begun or known.asks_for_the_same_as(call) else None


def known_call_of_round(copy: WorkingCopy, call: ToolCall, *, new_round: bool) -> ToolCall | None:
    """Return the recorded call that equals `call`, or None if `call` must be announced as new.

    A round is a group of calls that a run asks for together. A server may show an outdated round for so long that it
    looks like a new round. So if a function must not run twice, its call keeps the output, and the output is sent
    again.
    """
    known = known_call(copy, call)
    return None if new_round and known is not None and known.may_be_asked_again else known


def is_stale_for_long(copy: WorkingCopy) -> bool:
    """Return whether polls have shown the same seemingly outdated state so often that it must be the current state."""
    polls = copy.live_run.stale_polls
    return polls >= _MIN_STALE_POLLS and polls * copy.poll_interval().seconds >= _STALE_SECONDS


def is_a_new_round(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the calls of this poll are a new round, although they equal the calls of the last round.

    A round is a group of calls that a run asks for together. If the ids of calls are unique, equal calls are the calls
    of the last round: the server has lost their outputs. In this case, return False, and the library sends the outputs
    again.
    """
    run = copy.live_run
    is_repeated = _has_all_outputs(copy, fact) and run.outputs_accepted and is_stale_for_long(copy)
    return is_repeated and not has_unique_calls(fact.run)


def has_unique_calls(run: Run) -> bool:
    """Return whether the ids of a run's calls are unique. Some servers count the ids from 0 in each round of calls."""
    # With some APIs, one run may have several ids: then its calls identify the run, so their ids are unique.
    return run.inferred or run.handle is not None


def run_needs_tools(_: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.status is RunStatus.NEEDS_TOOLS


def _has_all_outputs(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    if not run_needs_tools(copy, fact):
        return False
    known = [known_call(copy, call) for call in calls_to_answer(copy, fact)]
    # The output of a call that the polls before have left out was not sent with the others.
    return all(call is not None and call.output is not None and not call.unlisted for call in known)


def calls_to_answer(copy: WorkingCopy, fact: inputs.RunSeen) -> list[ToolCall]:
    """Return one call of each id that the run names: a known one, or else the first.

    An output names only the id of its call, so there can be no output for another call with the id.
    """
    found: dict[str, ToolCall] = {}
    for call in fact.run.tool_calls:
        other = found.get(call.id)
        if other is None or (known_call(copy, other) is None and known_call(copy, call) is not None):
            found[call.id] = call
    return list(found.values())


def outputs_have_arrived(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the server has already accepted the outputs, so that this poll is outdated.

    An outdated poll still shows the run waiting for these outputs. If too many polls in a row show this, return False:
    some servers count the ids of calls from 0 in each round of calls, so the calls may be new.
    """
    taken = copy.live_run.outputs_accepted or was_a_submission(copy, fact)
    return taken and not is_stale_for_long(copy) and _has_all_outputs(copy, fact)


def all_calls_are_answered(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether no call needs the user's code or a person.

    A call needs neither if it already has an output. It also needs neither if its arguments are not valid JSON, because
    then the library answers it.
    """
    if not run_needs_tools(copy, fact):
        return False
    new_round = is_a_new_round(copy, fact)
    for call in calls_to_answer(copy, fact):
        known = known_call_of_round(copy, call, new_round=new_round)
        answered = known is not None and known.output is not None
        if not answered and (call.by_server or decode_arguments(call.arguments) is not BROKEN):
            return False
    return True


def answers_an_open_call(copy: WorkingCopy, command: inputs.SubmitToolOutput) -> bool:
    """Return whether the call accepts an output.

    A call accepts no output after its function was started, or while the call waits for a person.
    """
    call = _call(copy, command.tool_call_id)
    return call is not None and call.takes_output


def is_the_last_output(copy: WorkingCopy, command: inputs.SubmitToolOutput) -> bool:
    return answers_an_open_call(copy, command) and copy.calls.open.keys() == {command.tool_call_id}


def _call(copy: WorkingCopy, call_id: str) -> ToolCall | None:
    return copy.calls.open.get(call_id) or copy.calls.staged.get(call_id)


def may_ask_for_approval(copy: WorkingCopy, fact: inputs.AskForApproval) -> bool:
    call = _call(copy, fact.tool_call_id)
    return call is not None and call.stage is CallStage.OPEN


def waits_for_approval(copy: WorkingCopy, command: inputs.ApproveToolCall) -> bool:
    call = _call(copy, command.tool_call_id)
    return call is not None and call.waits_for_a_person


def may_be_denied(copy: WorkingCopy, command: inputs.DenyToolCall) -> bool:
    """Return whether the call may be denied: it waits for a person, or the tool's own rule denies it before that."""
    call = _call(copy, command.tool_call_id)
    return call is not None and (call.waits_for_a_person or (command.by_rule and call.stage is CallStage.OPEN))


def may_be_started(copy: WorkingCopy, fact: inputs.StartTool) -> bool:
    """Return whether the function may be started, for the first time or again."""
    call = _call(copy, fact.tool_call_id)
    return call is not None and (call.takes_output or (call.runs and call.is_safe))


def tool_runs(copy: WorkingCopy, fact: inputs.ToolEnded | inputs.ToolLost) -> bool:
    call = _call(copy, fact.tool_call_id)
    return call is not None and call.runs and call.attempt == fact.attempt


def has_too_many_rounds(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    limit = copy.settings.max_tool_rounds
    return limit is not None and copy.live_run.rounds >= limit and asks_for_more(copy, fact)


def is_in_the_middle_of_a_round(copy: WorkingCopy) -> bool:
    """Return whether a known call has no output yet. Until then, the run can only name more calls of the same round."""
    return bool(copy.calls.open or (copy.calls.staged and not copy.live_run.outputs_accepted))


def asks_for_more(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the run asks for a new round of calls.

    While earlier calls are open, a further call belongs to the same round as these calls.
    """
    if not run_needs_tools(copy, fact) or outputs_have_arrived(copy, fact) or is_in_the_middle_of_a_round(copy):
        return False
    return is_a_new_round(copy, fact) or any(known_call(copy, call) is None for call in fact.run.tool_calls)


def is_the_last_output_during_a_request(copy: WorkingCopy, command: inputs.SubmitToolOutput) -> bool:
    """Return whether this is the last missing output, but a poll or a cancel is in flight.

    The HTTP answer to the poll or cancel decides what happens next.
    """
    return is_the_last_output(copy, command) and (copy.sent or was_a_cancel(copy, command))
