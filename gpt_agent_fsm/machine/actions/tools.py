"""The actions for tool calls. Each call is announced once, and all outputs of a run are sent together."""

from __future__ import annotations

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.hosted import announce_hosted_tools
from gpt_agent_fsm.machine.actions.messages import publish
from gpt_agent_fsm.machine.actions.requests import give_up, leave_run, remember_calls, report, request_of
from gpt_agent_fsm.machine.arguments import BROKEN, announced_arguments, decode_arguments
from gpt_agent_fsm.machine.call_guards import (
    asks_for_more,
    calls_to_answer,
    is_a_new_round,
    is_in_the_middle_of_a_round,
    known_call_of_round,
)
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.working_copy import WorkingCopy

BROKEN_ARGUMENTS_OUTPUT = '{"error":"Failed to decode arguments, invalid JSON in tool call."}'


# --- calls are announced ------------------------------------------------------------------------------


def request_tool_calls(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    _take_down_calls(copy, fact)
    copy.failures = 0
    copy.schedule(copy.poll(), effects.Wait(seconds=copy.settings.tool_poll_interval))


def submit_known_outputs(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    _take_down_calls(copy, fact)
    _submit(copy)


def _take_down_calls(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    """Record the calls of the run. Announce each new call. Answer each call whose arguments are not valid JSON."""
    waiting: dict[str, ToolCall] = {}
    goes_on = is_in_the_middle_of_a_round(copy)
    new_round, rounds = is_a_new_round(copy, fact), copy.live_run.rounds + asks_for_more(copy, fact)
    # In some APIs, the run itself contains the text that the model wrote before the calls.
    said = [each for each in fact.run.messages if each.is_worth_publishing and each.id not in copy.cursor.published]
    announce_hosted_tools(copy, fact.run)
    publish(copy, said, fact.run.id, copy.live_run.assistant_id)
    for call in calls_to_answer(copy, fact):
        known = known_call_of_round(copy, call, new_round=new_round)
        goes_on = goes_on or known is not None
        if known is None:
            # The failed attempts counted so far belong to an earlier round of calls.
            copy.tries = 0
            known = _new_call(copy, fact.run.id, call)
        waiting[call.id] = attrs.evolve(known, unlisted=False) if known.unlisted else known
    if goes_on:
        # A server may leave out a call in one poll. What has begun must not begin again.
        begun = (call for call in copy.calls if call.has_begun and call.id not in waiting)
        waiting |= {call.id: attrs.evolve(call, unlisted=True) for call in begun}
    remember_calls(copy, [call_id for call_id in copy.calls.by_id if call_id not in waiting])
    copy.run = attrs.evolve(
        copy.live_run,
        handle=fact.run.handle,
        calls=waiting.values(),
        rounds=rounds,
        outputs_accepted=False,
        stale_polls=0,
        refused_polls=0,
    )


def _new_call(copy: WorkingCopy, run_id: str, call: ToolCall) -> ToolCall:
    if decode_arguments(call.arguments) is BROKEN and not call.by_server:
        return _record(copy, run_id, call, BROKEN_ARGUMENTS_OUTPUT)
    copy.events.append(
        events.ToolCallRequested(
            id=call.id,
            thread_id=copy.thread_id,
            run_id=run_id,
            name=call.name,
            arguments=announced_arguments(call.arguments),
        )
    )
    return attrs.evolve(call, output=None)


def _record(copy: WorkingCopy, run_id: str, call: ToolCall, output: str) -> ToolCall:
    if not call.by_server:
        # For a call that the server makes, a person's decision is announced as `ToolApproved` or `ToolDenied` instead.
        copy.events.append(
            events.ToolCallOutputRecorded(
                id=call.id, thread_id=copy.thread_id, run_id=run_id, name=call.name, output=output
            )
        )
    return attrs.evolve(call, output=output)


# --- outputs are recorded and sent --------------------------------------------------------------------


def record_output(copy: WorkingCopy, command: inputs.SubmitToolOutput) -> None:
    copy.unpark()
    run = copy.run or copy.left
    assert run is not None  # noqa: S101 - the guard has found the call
    copy.with_call(_record(copy, run.id, copy.calls.by_id[command.tool_call_id], command.output))


def record_last_output(copy: WorkingCopy, command: inputs.SubmitToolOutput) -> None:
    record_output(copy, command)
    _submit(copy)


def _submit(copy: WorkingCopy) -> None:
    copy.failures = 0
    run = copy.live_run
    answered = [(call, call.output) for call in run.calls if call.output is not None and not call.unlisted]
    copy.perform(
        effects.SubmitToolOutputs(
            run_id=run.id,
            outputs=tuple((call.id, output) for call, output in answered if not call.by_server),
            assistant_id=run.assistant_id,
            handle=run.handle,
            decisions=tuple((call.id, output) for call, output in answered if call.by_server),
            run_options=copy.turn.run_options,
        )
    )


# --- outputs that cannot be sent ------------------------------------------------------------------


def poll_run_later(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    report(copy, failure, will_retry=True)
    copy.tries += 1
    copy.schedule(copy.poll(in_doubt=True), _submission_delay(copy, failure))


def wait_for_the_lock(copy: WorkingCopy, _: inputs.RequestBlocked) -> None:
    """Poll the run, because the server says that a run locks the thread.

    Most likely this is the run itself: it has accepted the outputs and continues.
    """
    copy.schedule(copy.poll(in_doubt=True), copy.poll_interval())


def _submission_delay(copy: WorkingCopy, failure: inputs.RequestFailure) -> effects.Wait:
    return effects.Wait(seconds=max(copy.settings.tool_output_retry_delay, failure.retry_after or 0.0))


def submit_again_later(copy: WorkingCopy, failure: inputs.RequestDelayed) -> None:
    report(copy, failure, will_retry=True)
    copy.tries += 1
    copy.schedule(request_of(copy), _submission_delay(copy, failure))


def give_up_outputs(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Announce that the outputs could not be sent. End the run, so that the thread stays usable."""
    report(copy, failure, will_retry=False)
    run = copy.live_run
    copy.events.append(events.ToolCallOutputSubmissionFailed(thread_id=copy.thread_id, run_id=run.id))
    # The calls are kept. If a poll shows the run once more before the run ends, the calls are not announced again.
    leave_run(copy)
    copy.perform(effects.CancelRun(run_id=run.id, handle=run.handle))


def keep_outputs(copy: WorkingCopy, failure: inputs.RequestNeedsOperator) -> None:
    """Keep the outputs until the run is polled again, because a person must act before the outputs can be sent."""
    run_id = copy.live_run.id
    give_up(copy, failure)
    copy.events.append(events.ToolCallOutputSubmissionFailed(thread_id=copy.thread_id, run_id=run_id))
