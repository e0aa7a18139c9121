"""The actions for tool calls that a function of this program answers, and for those that a person must approve.

The library saves the start of a function before the function runs, and saves the output after the function has run. So
after a crash, a new process knows which functions may have run.
"""

from __future__ import annotations

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.actions.endings import send_cancel
from gpt_agent_fsm.machine.actions.requests import change_call
from gpt_agent_fsm.machine.actions.runs import change_run
from gpt_agent_fsm.machine.arguments import announced_arguments, decision_output, error_output
from gpt_agent_fsm.machine.objects import CallStage, ToolCall
from gpt_agent_fsm.machine.snapshot import Ending
from gpt_agent_fsm.machine.working_copy import WorkingCopy

MAX_ROUNDS = "max_tool_rounds"


def _call(copy: WorkingCopy, call_id: str) -> ToolCall:
    return copy.calls.by_id[call_id]


def _run_id(copy: WorkingCopy) -> str:
    run = copy.run or copy.left
    assert run is not None  # noqa: S101 - the guard has found the call
    return run.id


def ask_for_approval(copy: WorkingCopy, fact: inputs.AskForApproval) -> None:
    call = _call(copy, fact.tool_call_id)
    copy.events.append(
        events.ToolApprovalRequested(
            id=call.id,
            thread_id=copy.thread_id,
            run_id=_run_id(copy),
            name=call.name,
            arguments=announced_arguments(call.arguments),
        )
    )
    change_call(copy, call.id, stage=CallStage.ASKING, asked_at=fact.at)


def approve(copy: WorkingCopy, command: inputs.ApproveToolCall) -> inputs.SubmitToolOutput | None:
    copy.events.append(
        events.ToolApproved(id=command.tool_call_id, thread_id=copy.thread_id, by=command.by, note=command.note)
    )
    change_call(copy, command.tool_call_id, stage=CallStage.APPROVED)
    if not _call(copy, command.tool_call_id).by_server:
        return None
    return inputs.SubmitToolOutput(tool_call_id=command.tool_call_id, output=decision_output(approve=True))


def deny(copy: WorkingCopy, command: inputs.DenyToolCall) -> inputs.SubmitToolOutput:
    copy.events.append(
        events.ToolDenied(id=command.tool_call_id, thread_id=copy.thread_id, by=command.by, reason=command.reason)
    )
    if _call(copy, command.tool_call_id).by_server:
        output = decision_output(approve=False, reason=command.reason)
    else:
        output = error_output(f"The call was denied{f': {command.reason}' if command.reason else ''}")
    return _answered(copy, command.tool_call_id, output)


def start(copy: WorkingCopy, fact: inputs.StartTool) -> None:
    call = _call(copy, fact.tool_call_id)
    copy.events.append(
        events.ToolStarted(
            id=call.id, thread_id=copy.thread_id, run_id=_run_id(copy), name=call.name, attempt=call.attempt + 1
        )
    )
    change_call(copy, call.id, stage=CallStage.STARTED, attempt=call.attempt + 1, is_safe=fact.is_safe)


def end(copy: WorkingCopy, fact: inputs.ToolEnded) -> inputs.SubmitToolOutput:
    return _answered(copy, fact.tool_call_id, fact.output)


def lose(copy: WorkingCopy, fact: inputs.ToolLost) -> inputs.SubmitToolOutput:
    call = _call(copy, fact.tool_call_id)
    copy.events.append(
        events.ToolOutcomeUnknown(id=call.id, thread_id=copy.thread_id, run_id=_run_id(copy), name=call.name)
    )
    return _answered(copy, call.id, error_output(fact.reason))


def _answered(copy: WorkingCopy, call_id: str, output: str) -> inputs.SubmitToolOutput:
    """Let the call accept an output. Return the input that delivers `output`; the machine handles this input next."""
    change_call(copy, call_id, stage=CallStage.APPROVED)
    return inputs.SubmitToolOutput(tool_call_id=call_id, output=output)


def end_for_rounds(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    """End a run that has asked for tools more than `max_tool_rounds` times."""
    message = f"The run was cancelled: it asked for tools more than {copy.settings.max_tool_rounds} times."
    change_run(copy, handle=fact.run.handle, ending=Ending(code=MAX_ROUNDS, message=message))
    send_cancel(copy, fact)
