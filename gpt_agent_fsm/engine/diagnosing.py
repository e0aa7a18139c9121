"""Find what needs a person in a thread: a run that nobody follows, an open call, an approval, a queue that waits.

Everything here is a pure function of the saved data, the settings and the time. A repair is a list of commands that
need no request. `repaired` applies the commands as a driver would. The next driver of the thread continues from the
result.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from gpt_agent_fsm.engine.decision import Decision, decide
from gpt_agent_fsm.engine.protocols import Saved
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.reasons import queued_behind, reason_of
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.waits import waiting_calls
from gpt_agent_fsm.settings import Settings

__all__ = ["Finding", "FindingKind", "find", "orphan", "reason_of", "repaired"]

_EXPIRED = "expired"
_START = "start your program, the one whose Runtime has this store."
_NOT_CARRIED_OUT = '{"error":"The call was not carried out."}'


class FindingKind(StrEnum):
    """The kind of a finding."""

    PARKED_QUEUE = "parked_queue"
    UNFINISHED = "unfinished"
    STUCK_RUN = "stuck_run"
    EXPIRED_RUN = "expired_run"
    OPEN_CALL = "open_call"
    APPROVAL = "approval"
    ORPHAN = "orphan"


@attrs.frozen(kw_only=True)
class Finding:
    """One reason why a thread needs a person.

    Attributes:
        problem: sentences that say what was found.
        advice: a sentence that says what a person can do.
        repair: the question whether the repair should be made; "" if no repair is possible without the server.
        commands: the commands of the repair.
    """

    kind: FindingKind
    thread_id: str
    problem: str
    advice: str
    repair: str = ""
    commands: tuple[inputs.Command, ...] = ()


def find(saved: Saved, settings: Settings, now: float, *, owned: bool) -> tuple[Finding, ...]:
    """Return the findings of one thread.

    `now` is in seconds since the epoch. `owned`: True if a process drives the threads of the store. In this case,
    unfinished work is a finding only after the thread has waited for `stall_after` seconds.
    """
    # The accepted commands count as carried out, so that a repaired thread is not found again.
    snapshot = decide(saved.snapshot, (), saved.inbox, settings, now).snapshot
    if calls := waiting_calls(snapshot):
        return tuple(_call(snapshot, call, settings, now) for call in calls)
    if snapshot.outbox.parked:
        return (_parked(snapshot),)
    if snapshot.settled:
        return _at_rest(saved, snapshot, owned=owned)
    if owned and not _is_stalled(snapshot, settings, now):
        return ()
    return (_unfinished(snapshot, owned=owned),)


def orphan(saved: Saved) -> tuple[Finding, ...]:
    """Return the finding of a thread of a cluster that no worker owns; none if the thread has nothing to do."""
    if saved.snapshot.settled and not saved.inbox and not saved.unannounced:
        return ()
    return (
        Finding(
            kind=FindingKind.ORPHAN,
            thread_id=saved.snapshot.thread_id,
            problem=f"{reason_of(saved.snapshot, halted=True)} No worker owns the thread.",
            advice="Workers search for such threads every few seconds. If this stays, start more workers, or let them "
            "own more threads with --concurrency.",
        ),
    )


def repaired(saved: Saved, commands: tuple[inputs.Command, ...], settings: Settings, now: float) -> Decision:
    """Apply a thread's accepted commands and then `commands`. In the result, no request counts as sent."""
    last = saved.inbox[-1][0] if saved.inbox else 0
    numbered = (*saved.inbox, *((last, command) for command in commands))
    return decide(saved.snapshot, (), numbered, settings, now)


# --- the findings -------------------------------------------------------------------------------------


def _call(snapshot: Snapshot, call: ToolCall, settings: Settings, now: float) -> Finding:
    what, behind = f"{call.name} ({call.id}) of the run {snapshot.run_id}", queued_behind(snapshot)
    if call.waits_for_a_person:
        limit = settings.approval_timeout
        may_decide = limit is not None and call.asked_at is not None and now < call.asked_at + limit
        deny = inputs.DenyToolCall(tool_call_id=call.id, reason="Nobody has approved the call.", by="doctor")
        return Finding(
            kind=FindingKind.APPROVAL,
            thread_id=snapshot.thread_id,
            problem=f"The call {what} waits for an approval. {behind}".rstrip(),
            advice="Call approve() or deny() in the program whose Runtime has this store.",
            repair="" if may_decide else f"Deny the call {call.id}, so that the model gets an error as its output?",
            commands=() if may_decide else (deny,),
        )
    if not call.takes_output:
        return Finding(
            kind=FindingKind.OPEN_CALL,
            thread_id=snapshot.thread_id,
            problem=f"The call {what} has no output yet; its function answers it. {behind}".rstrip(),
            advice="Start the program with this function, or call cancel_run() in it to end the run.",
        )
    answer = inputs.SubmitToolOutput(tool_call_id=call.id, output=_NOT_CARRIED_OUT)
    return Finding(
        kind=FindingKind.OPEN_CALL,
        thread_id=snapshot.thread_id,
        problem=f"The call {what} waits for its output. {behind}".rstrip(),
        advice="Call submit_tool_output(), or cancel_run() to end the run.",
        repair=f"Answer the call {call.id} with an error?",
        commands=(answer,),
    )


def _parked(snapshot: Snapshot) -> Finding:
    return Finding(
        kind=FindingKind.PARKED_QUEUE,
        thread_id=snapshot.thread_id,
        problem=reason_of(snapshot),
        advice="Remove the cause, and call connect() to try again. To drop what was not sent, call discard_queue().",
        repair="Drop the messages that were not sent, and the run that was not created?",
        commands=(inputs.DiscardQueue(),),
    )


def _at_rest(saved: Saved, snapshot: Snapshot, *, owned: bool) -> tuple[Finding, ...]:
    if snapshot.queue or (saved.inbox and not owned and _has_messages(saved)):
        return (_waiting(snapshot, owned=owned),)
    failure = snapshot.failure
    if failure is None or failure.operation is not None or failure.code != _EXPIRED:
        return ()
    return (
        Finding(
            kind=FindingKind.EXPIRED_RUN,
            thread_id=snapshot.thread_id,
            problem=reason_of(snapshot),
            advice="Nothing waits. Call add_user_message() to start another run, which clears this.",
        ),
    )


def _has_messages(saved: Saved) -> bool:
    return any(isinstance(command, inputs.AddUserMessage) for _, command in saved.inbox)


def _unfinished(snapshot: Snapshot, *, owned: bool) -> Finding:
    if snapshot.run is None:
        return _waiting(snapshot, owned=owned)
    return Finding(
        kind=FindingKind.STUCK_RUN,
        thread_id=snapshot.thread_id,
        problem=reason_of(snapshot, halted=not owned),
        advice="This needs the server: "
        + ("call cancel_run() to end the run." if owned else f"{_START} It resumes the run."),
    )


def _waiting(snapshot: Snapshot, *, owned: bool) -> Finding:
    return Finding(
        kind=FindingKind.UNFINISHED,
        thread_id=snapshot.thread_id,
        problem=reason_of(snapshot, halted=not owned),
        advice="This needs the server: "
        + ("call discard_queue() to drop what was not sent." if owned else f"{_START} It continues."),
    )


def _is_stalled(snapshot: Snapshot, settings: Settings, now: float) -> bool:
    limit, waiting = settings.stall_after, snapshot.waiting
    return limit is not None and waiting is not None and now - waiting.since >= limit
