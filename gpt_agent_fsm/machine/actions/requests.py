"""The actions for the one request of a thread.

They make the request now or later, repeat it, search for its result, or abandon it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.guards import searches_for_our_run
from gpt_agent_fsm.machine.message_guards import is_searching
from gpt_agent_fsm.machine.objects import CallStage
from gpt_agent_fsm.machine.queue import Doubt
from gpt_agent_fsm.machine.snapshot import LeftRun, Newest
from gpt_agent_fsm.machine.states import LIVE
from gpt_agent_fsm.machine.working_copy import WorkingCopy

_ENDS_REMEMBERED = 20
_CALLS_REMEMBERED = 200
_SEARCHES_IN_FLIGHT = 2
"""The number of searches if a request may still take effect: one now, and one when it can no longer take effect."""
_SEARCHES_AFTER_CRASH = 3
"""The number of searches after a crash. The previous process may still be alive but slow. That process waits for the
HTTP answer for `Settings.outcome_grace` seconds, and its request may take effect during as many seconds after that."""


# --- the one request ----------------------------------------------------------------------------------


def request_of(copy: WorkingCopy) -> effects.Request:
    """Return the request that is due or in flight. There must be one."""
    assert copy.request is not None  # noqa: S101 - the guards have seen to it
    return copy.request


def close_request(copy: WorkingCopy, _: inputs.Input) -> None:
    copy.close_request()


def perform_request(copy: WorkingCopy, _: inputs.Input) -> None:
    copy.perform(_searched_before(copy, request_of(copy)))


def _searched_before(copy: WorkingCopy, request: effects.Request) -> effects.Request:
    """Return the request. If it would create a run that may already exist, return a search for that run instead."""
    owed = copy.outbox.owed
    in_doubt = owed is not None and owed.doubt is not None and isinstance(request, effects.CreateRun)
    return _search(copy) if in_doubt else request


def resume_request(copy: WorkingCopy, input_: inputs.Resume) -> None:
    # It is unknown how much of the `outcome_grace` has passed. So the searches start again.
    owed = copy.outbox.owed
    if is_searching(copy, input_):
        doubt_message(copy, _SEARCHES_AFTER_CRASH)
    elif owed is not None and owed.doubt is not None and searches_for_our_run(copy):
        doubt_run(copy, _SEARCHES_AFTER_CRASH)
    copy.perform(_searched_before(copy, request_of(copy)))


# --- at rest ------------------------------------------------------------------------------------------


def start_idle_timer(copy: WorkingCopy, _: inputs.Proceed) -> None:
    copy.effects.append(effects.Wait(seconds=copy.settings.idle_seconds))


def unpark(copy: WorkingCopy, _: inputs.QuotaRestored) -> None:
    copy.unpark()


def stop(copy: WorkingCopy, _: inputs.TimerDue) -> None:
    copy.stopping = True
    copy.effects.append(effects.Stop(reason="idle_timeout"))


# --- requests that did not succeed --------------------------------------------------------------------


def report(copy: WorkingCopy, failure: inputs.RequestFailure, *, will_retry: bool) -> None:
    """Announce that the request in flight has failed."""
    _announce_failure(copy, request_of(copy), failure, copy.attempt, will_retry=will_retry)


def report_doubt(copy: WorkingCopy, request: effects.Request, message: str, *, will_retry: bool) -> None:
    """Announce that the outcome of a request is unknown."""
    failure = inputs.RequestUnresolved(code="outcome_unknown", message=message)
    _announce_failure(copy, request, failure, copy.tries + 1, will_retry=will_retry)


def _announce_failure(
    copy: WorkingCopy, request: effects.Request, failure: inputs.RequestFailure, attempt: int, *, will_retry: bool
) -> None:
    copy.events.append(
        events.RequestFailed(
            thread_id=copy.thread_id,
            operation=request.operation,
            status=failure.status,
            code=failure.code,
            message=failure.message,
            attempt=attempt,
            will_retry=will_retry,
        )
    )


def try_again_later(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    report(copy, failure, will_retry=True)
    if copy.counts_as_try():
        copy.tries += 1
    else:
        copy.failures += 1
    copy.schedule(request_of(copy), copy.backoff(copy.attempt - 1, failure))


def give_up(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Stop until the next command. Keep the message that could not be delivered."""
    report(copy, failure, will_retry=False)
    if isinstance(failure, inputs.RequestNeedsOperator) and failure.quota:
        announce_empty_balance(copy, copy.run.id if copy.run is not None else None, copy.assistant_id)
    park(copy)


def announce_empty_balance(copy: WorkingCopy, run_id: str | None, assistant_id: str) -> None:
    """Announce that the balance is exhausted and a person must act."""
    copy.events.append(
        events.OrganizationQuotaExceeded(run_id=run_id, thread_id=copy.thread_id, assistant_id=assistant_id)
    )


def announce_failed_run(copy: WorkingCopy, run_id: str | None, assistant_id: str, code: str, message: str) -> None:
    """Announce that a run has failed; `run_id` is None if the run was not created."""
    copy.events.append(
        events.RunFailed(id=run_id, thread_id=copy.thread_id, assistant_id=assistant_id, code=code, message=message)
    )


def park(copy: WorkingCopy) -> None:
    """Park the thread: it does nothing until the next command."""
    copy.outbox = attrs.evolve(copy.outbox, parked=True)
    if copy.state in LIVE:
        # The run may continue on the server. After the next command, the library checks for it first.
        copy.server = attrs.evolve(copy.server, must_check=True)
    leave_run(copy)


def park_for_budget(copy: WorkingCopy, _: inputs.Input) -> None:
    """Park the thread because its tokens are used up: it does nothing until the next command.

    Announce this only once for the same number of used tokens and the same limit.
    """
    told = (copy.usage.total_tokens, copy.token_limit or 0)
    if copy.outbox.budget_told != told:
        copy.events.append(events.BudgetExceeded(thread_id=copy.thread_id, used=told[0], limit=told[1]))
    copy.outbox = attrs.evolve(copy.outbox, budget_told=told)
    copy.close_request()
    park(copy)


def leave_run(copy: WorkingCopy) -> None:
    """Stop following the run, and clear the request.

    Keep the run's calls, in case the library follows the run again.
    """
    run = copy.run
    if run is not None:
        left = LeftRun(id=run.id, calls=run.calls, outputs_accepted=run.outputs_accepted)
        copy.run, copy.left = None, left if run.calls else None
    _end_turn(copy)


def end_run(copy: WorkingCopy) -> None:
    """Clear the run, its calls and the request, because the run has ended or will not be created.

    Keep the calls of `copy.left`: the library stopped following that run earlier, but it may continue on the server.
    """
    if copy.run is not None:
        note_end(copy, copy.run.id)
        copy.run = None
    _end_turn(copy)


def _end_turn(copy: WorkingCopy) -> None:
    if copy.outbox.owed is None:
        copy.outbox = attrs.evolve(copy.outbox, turn=None)
    copy.close_request()


def change_call(copy: WorkingCopy, call_id: str, **changes: Any) -> None:  # noqa: ANN401 - any fields
    """Change one of the known tool calls."""
    copy.with_call(attrs.evolve(copy.calls.by_id[call_id], **changes))


def close_approvals(copy: WorkingCopy) -> None:
    """Close the open approvals, because the run has ended. Announce each of them as denied."""
    for call in copy.calls.staged.values():
        if call.waits_for_a_person:
            copy.events.append(events.ToolDenied(id=call.id, thread_id=copy.thread_id, reason="run ended"))
            change_call(copy, call.id, stage=CallStage.OPEN)


def note_end(copy: WorkingCopy, run_id: str) -> None:
    """Remember that the run has ended, so that the library does not follow it again."""
    close_approvals(copy)
    server = copy.server
    copy.server = attrs.evolve(server, ended_run_ids=(*server.ended_run_ids, run_id)[-_ENDS_REMEMBERED:])
    remember_calls(copy, list(copy.calls.by_id))


def remember_calls(copy: WorkingCopy, call_ids: Sequence[str]) -> None:
    """Remember calls that no longer need an output.

    If a run waits only for these calls, the library does not adopt it.
    """
    if call_ids:
        known = (*copy.server.ended_calls, *call_ids)
        copy.server = attrs.evolve(copy.server, ended_calls=known[-_CALLS_REMEMBERED:])


def drop_cancel(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    report(copy, failure, will_retry=False)
    copy.close_request()


# --- what is in doubt ---------------------------------------------------------------------------------


def search_for_outcome(copy: WorkingCopy, failure: inputs.RequestUnresolved) -> None:
    report(copy, failure, will_retry=True)
    copy.tries += 1
    _doubt(copy, _searches(failure))
    copy.schedule(_search(copy), copy.backoff(copy.tries, failure))


def search_after_crash(copy: WorkingCopy, _: inputs.Resume) -> None:
    report_doubt(
        copy,
        request_of(copy),
        "The process ended while the request was in flight; the library searches the server for its result.",
        will_retry=True,
    )
    _doubt(copy, _SEARCHES_AFTER_CRASH)
    copy.perform(_search(copy))


def give_up_in_doubt(copy: WorkingCopy, failure: inputs.RequestUnresolved) -> None:
    _doubt(copy, _searches(failure))
    give_up(copy, failure)


def _search(copy: WorkingCopy) -> effects.Request:
    """Return the request that finds out whether the request in doubt took effect."""
    match copy.request:
        case effects.PostMessage():
            return effects.ListMessages(after=None, newest_first=True)
        case effects.CreateRun(key=key, retry_of=retry_of):
            return effects.GetLatestRun(key=key, retry_of=retry_of)
        case _:
            return copy.poll(in_doubt=True)


def _searches(failure: inputs.RequestUnresolved) -> int:
    """Return how often to search the server before the request is sent again.

    The number is 2 if the request may still take effect, and 1 otherwise.
    """
    return _SEARCHES_IN_FLIGHT if failure.in_flight else 1


def _doubt(copy: WorkingCopy, searches: int) -> None:
    """Record that the request in flight may have taken effect.

    A submission of outputs needs no record: polls show its effect.
    """
    if isinstance(copy.request, effects.PostMessage):
        doubt_message(copy, searches)
    elif isinstance(copy.request, effects.CreateRun):
        doubt_run(copy, searches)


def doubt_message(copy: WorkingCopy, searches: int) -> None:
    """Record that the first queued message may have been posted, and how many searches are left."""
    before = copy.queue.doubt
    if before is None:
        before = _new_doubt(copy.server.last_posted, copy.cursor.last_message_id)
    copy.queue = copy.queue.with_doubt(attrs.evolve(before, searches_left=searches))


def doubt_run(copy: WorkingCopy, searches: int) -> None:
    """Record that the owed run (the next run to create) may already exist, and how many searches are left."""
    # The library already knew the runs that have ended, even if the last search did not list them.
    before = copy.owed_run.doubt or _new_doubt(copy.server.last_run, *copy.server.ended_run_ids)
    copy.owe(attrs.evolve(copy.owed_run, doubt=attrs.evolve(before, searches_left=searches)))


def _new_doubt(newest: Newest, *others: str | None) -> Doubt:
    known = tuple(id_ for id_ in (newest.id, *others) if id_ is not None)
    return Doubt(searches_left=0, known=known, nothing_before=newest.is_none)
