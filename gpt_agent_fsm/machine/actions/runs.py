"""The actions that find, create, follow, cancel and end runs."""

from __future__ import annotations

from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.hosted import announce_hosted_tools
from gpt_agent_fsm.machine.actions.requests import (
    announce_empty_balance,
    announce_failed_run,
    close_approvals,
    doubt_run,
    end_run,
    leave_run,
    note_end,
    report,
    try_again_later,
)
from gpt_agent_fsm.machine.call_guards import outputs_have_arrived, run_needs_tools
from gpt_agent_fsm.machine.failure_guards import is_locked, was_a_submission
from gpt_agent_fsm.machine.guards import (
    our_run,
    request_is_over_budget,
    run_to_adopt,
    searches_for_our_run,
    waits_for_nothing,
)
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.snapshot import Ending, FailedAttempt, LiveRun, Newest, OwedRun, Reading, Turn
from gpt_agent_fsm.machine.working_copy import WorkingCopy

# --- an agent connects ------------------------------------------------------------------------


def attach(copy: WorkingCopy, command: inputs.Connect) -> None:
    if command.last_message_id is not None:
        copy.cursor = copy.cursor.moved_to(command.last_message_id)
    if command.look and not copy.state.run_in_progress:
        copy.server = attrs.evolve(copy.server, must_check=True)
    if command.max_total_tokens is not None:
        _change_limit(copy, command.max_total_tokens)
    if command.stream is not None:
        copy.stream = command.stream
    if command.tenant is not None:
        copy.tenant = command.tenant
    change_assistant(copy, command)
    if copy.request is not None and request_is_over_budget(copy, command):
        # The request was decided under the former limit, so it is decided again.
        copy.schedule(copy.request, effects.Wait(seconds=0.0))


def _change_limit(copy: WorkingCopy, limit: int) -> None:
    former, copy.max_total_tokens = copy.token_limit, limit
    if former != limit:
        copy.outbox = attrs.evolve(copy.outbox, budget_told=None)


def change_assistant(copy: WorkingCopy, command: inputs.Connect | inputs.SetAssistant) -> None:
    copy.assistant_id = command.assistant_id
    copy.unpark()
    if copy.server.lost_run_id is not None:
        copy.server = attrs.evolve(copy.server, lost_run_id=None)
    if isinstance(copy.request, effects.CreateRun) and not copy.sent:
        copy.request = attrs.evolve(copy.request, assistant_id=command.assistant_id)


def check_for_run(copy: WorkingCopy, _: inputs.Proceed) -> None:
    copy.perform(effects.GetLatestRun())


def search_for_owed_run(copy: WorkingCopy, _: inputs.Proceed) -> None:
    copy.perform(_owed_run_search(copy))


def _owed_run_search(copy: WorkingCopy, *, wide: bool = False) -> effects.GetLatestRun:
    if copy.outbox.owed is None:
        return effects.GetLatestRun(wide=wide)
    return effects.GetLatestRun(key=copy.turn.run_key, retry_of=_handle_to_repeat(copy), wide=wide)


def _handle_to_repeat(copy: WorkingCopy) -> str | None:
    failed = copy.owed_run.retry_of
    return None if failed is None else failed.handle


def note_latest_run(copy: WorkingCopy, fact: inputs.RunsListed) -> None:
    newest = Newest.seen(fact.runs[0].id if fact.runs else None)
    copy.server = attrs.evolve(copy.server, last_run=newest, must_check=False)
    _note_newest_message(copy, fact)
    # The doubt remains until a run is found: an earlier attempt may still take effect.
    copy.just_searched = searches_for_our_run(copy)
    copy.drop_request()


def _note_newest_message(copy: WorkingCopy, fact: inputs.RunsListed) -> None:
    """Record the id of the thread's newest message, so that messages posted later can be recognised."""
    newest = fact.newest_message_id
    if newest is not None and not copy.server.last_posted.asked and copy.queue.doubt is None:
        copy.server = attrs.evolve(copy.server, last_posted=Newest.seen(newest or None))


def search_run_again(copy: WorkingCopy, _: inputs.RunsListed) -> None:
    doubt, request = copy.owed_run.doubt, copy.request
    assert doubt is not None and request is not None  # noqa: S101, PT018 - the guard has seen to it
    doubt_run(copy, doubt.searches_left - 1)
    copy.schedule(request, effects.Wait(seconds=copy.settings.outcome_grace))


def search_for_blocking_run(copy: WorkingCopy, failure: inputs.RequestBlocked) -> None:
    first, locked = copy.tries == 0, is_locked(failure)
    copy.tries += 1 if first or not locked else 0
    request = _owed_run_search(copy, wide=True)
    if first:
        copy.perform(request)
    else:
        copy.schedule(request, copy.poll_interval() if locked else copy.backoff(copy.tries - 1, failure))


# --- a run begins -------------------------------------------------------------------------------------


def create_run(copy: WorkingCopy, _: inputs.Input) -> None:
    copy.perform(_new_run(copy))


def _new_run(copy: WorkingCopy) -> effects.CreateRun:
    key, retry_of = copy.turn.run_key, _handle_to_repeat(copy)
    may_exist = copy.owed_run.doubt is not None
    return effects.CreateRun(
        key=key,
        assistant_id=copy.assistant_id,
        retry_of=retry_of,
        may_exist=may_exist,
        run_options=copy.turn.run_options,
    )


def create_run_after_all(copy: WorkingCopy, fact: inputs.RunsListed) -> None:
    note_latest_run(copy, fact)
    create_run(copy, fact)


def start_run(copy: WorkingCopy, fact: inputs.RunCreated) -> inputs.RunSeen:
    copy.started_again = copy.tries > 0
    return _begin(copy, fact.run)


def start_found_run(copy: WorkingCopy, fact: inputs.RunsListed) -> inputs.RunSeen:
    run = our_run(copy, fact)
    assert run is not None  # noqa: S101 - the guard has seen to it
    return _begin(copy, run)


def _begin(copy: WorkingCopy, run: Run) -> inputs.RunSeen:
    if run.key is not None:
        copy.server = attrs.evolve(copy.server, run_keys_kept=True)
    live = _take_run(copy, run)
    copy.owe(None)
    copy.events.append(events.RunStarted(id=run.id, thread_id=copy.thread_id, assistant_id=live.assistant_id))
    # The HTTP answer may show that the new run already needs something, or has already ended.
    return inputs.RunSeen(run=run)


def adopt_run(copy: WorkingCopy, fact: inputs.RunsListed) -> None:
    run = run_to_adopt(copy, fact)
    assert run is not None  # noqa: S101 - the guard has seen to it
    _note_newest_message(copy, fact)
    _take_run(copy, run)
    if copy.outbox.owed is None:
        turn = Turn(key=run.id, runs=0, retries_left=copy.settings.rate_limit_max_retries)
        copy.outbox = attrs.evolve(copy.outbox, turn=turn)
    copy.perform(copy.poll())


def _take_run(copy: WorkingCopy, run: Run) -> LiveRun:
    """Follow this run. If its calls are already known, keep them with their outputs."""
    left, owed = copy.left, copy.outbox.owed
    # In some APIs, the ids of calls are not unique.
    known = [(call, copy.calls.by_id.get(call.id)) for call in run.tool_calls]
    continued = bool(known) and all(one is not None and one.asks_for_the_same_as(call) for call, one in known)
    same = left is not None and (left.id == run.id or continued)
    live = LiveRun(
        id=run.id,
        handle=run.handle,
        assistant_id=run.assistant_id or copy.assistant_id,
        calls=left.calls if left is not None and same else (),
        outputs_accepted=left is not None and same and left.outputs_accepted,
    )
    if owed is not None and owed.must_cancel:
        # The user has cancelled the owed run and wants no run. So `run`, which is in progress, is cancelled, even if
        # the owed run is still in doubt.
        ending = Ending(code="cancelled", message="The run was cancelled.")
        live = attrs.evolve(live, must_cancel=True, ending=ending)
        copy.owe(None)
    copy.run, copy.left = live, None
    copy.server = attrs.evolve(copy.server, last_run=Newest.seen(run.id), must_check=False)
    copy.tries = copy.failures = 0
    return live


# --- a run continues ----------------------------------------------------------------------------------


def poll_later(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    if was_a_submission(copy, fact) or _outputs_did_arrive(copy, fact):
        change_run(copy, outputs_accepted=True)
    announce_hosted_tools(copy, fact.run)
    is_stale = outputs_have_arrived(copy, fact) or waits_for_nothing(copy, fact)
    stale_polls = copy.live_run.stale_polls + 1 if is_stale else 0
    change_run(copy, stale_polls=stale_polls, refused_polls=0, handle=fact.run.handle)
    copy.tries = copy.failures = 0
    copy.schedule(copy.poll(in_doubt=copy.started_again), copy.poll_interval())


def poll_once_more(copy: WorkingCopy, failure: inputs.RequestRejected) -> None:
    """Poll again a little later, because only this server may not know the run."""
    change_run(copy, refused_polls=copy.live_run.refused_polls + 1)
    try_again_later(copy, failure)


def repeat_later(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Make the request again later. Polls that were refused before it no longer count."""
    change_run(copy, refused_polls=0)
    try_again_later(copy, failure)


def change_run(copy: WorkingCopy, **changes: Any) -> None:  # noqa: ANN401 - any fields
    """Change these fields of the run. Do nothing if all values are the same, which is so after most polls."""
    run = copy.live_run
    if any(getattr(run, name) != value for name, value in changes.items()):
        copy.run = attrs.evolve(run, **changes)


def _outputs_did_arrive(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the outputs have arrived, although the server did not confirm the request that submitted them.

    They have arrived if the run no longer needs tools.
    """
    return bool(copy.calls) and not copy.calls.open and not run_needs_tools(copy, fact)


def poll_run(copy: WorkingCopy, _: inputs.Input) -> None:
    copy.tries = copy.failures = 0
    copy.perform(copy.poll())


def ignore_other_run(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    copy.effects.append(effects.Ignore(reason=f"run {fact.run.id} is not the run in progress"))


# --- a run ends ---------------------------------------------------------------------------------------


def _take_results(copy: WorkingCopy, run: Run) -> None:
    """Count the tokens of a run that has ended. Announce the server's own tools that the run has used."""
    # The library may see the end of a run twice: first if it regards the run as another client's, and again if it finds
    # that the run is the one in doubt.
    if run.id not in copy.server.ended_run_ids:
        # Some servers report no total. If the total were counted as 0, no budget would ever be used up.
        total = run.usage.total_tokens or run.usage.prompt_tokens + run.usage.completion_tokens
        copy.usage += attrs.evolve(run.usage, total_tokens=total, runs=1)
    announce_hosted_tools(copy, run)


def complete_run(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    _take_results(copy, fact.run)
    run, assistant_id = fact.run, copy.live_run.assistant_id
    copy.events.append(
        events.RunCompleted(
            id=run.id,
            thread_id=copy.thread_id,
            assistant_id=assistant_id,
            prompt_tokens=run.usage.prompt_tokens,
            completion_tokens=run.usage.completion_tokens,
            total_tokens=run.usage.total_tokens,
        )
    )
    reading = Reading(run_id=run.id, assistant_id=assistant_id, own=run.messages)
    copy.cursor = attrs.evolve(copy.cursor, reading=reading)
    end_run(copy)


def wait_for_rate(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    """Schedule a new run after a rate limit. The message is already on the thread, so it is not posted again."""
    _take_results(copy, fact.run)
    run, turn = copy.live_run, copy.turn
    _rate_limited(copy, run, turn.retries_left)
    failed = FailedAttempt(run_id=run.id, assistant_id=run.assistant_id, handle=fact.run.handle)
    copy.outbox = attrs.evolve(
        copy.outbox,
        turn=attrs.evolve(turn, runs=turn.runs + 1, retries_left=turn.retries_left - 1),
        owed=attrs.evolve(copy.outbox.owed or OwedRun(), retry_of=failed),
    )
    note_end(copy, run.id)
    copy.run = None
    copy.tries = copy.failures = 0
    copy.schedule(_new_run(copy), effects.Wait(seconds=copy.settings.rate_limit_retry_delay))


def _rate_limited(copy: WorkingCopy, run: LiveRun, retries_remaining: int) -> None:
    copy.events.append(
        events.RateLimited(
            run_id=run.id,
            thread_id=copy.thread_id,
            assistant_id=run.assistant_id,
            retries_remaining=retries_remaining,
        )
    )


def exhaust_retries(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    _take_results(copy, fact.run)
    run = copy.live_run
    _rate_limited(copy, run, 0)
    copy.events.append(
        events.RateLimitRetriesExhausted(run_id=run.id, thread_id=copy.thread_id, assistant_id=run.assistant_id)
    )
    end_run(copy)


def report_empty_balance(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    announce_empty_balance(copy, copy.live_run.id, copy.live_run.assistant_id)
    fail_run(copy, fact)


def fail_run(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    _take_results(copy, fact.run)
    _announce_end(copy, fact.run.code, fact.run.message)
    end_run(copy)


def _announce_end(copy: WorkingCopy, code: str, message: str) -> None:
    """Announce that the run has failed.

    If the run has no `ending`, announce `code` and `message`. If it has one, announce the code and the message of the
    ending. But if the ending is a cancel and `code` is not empty, announce `code` and `message`.
    """
    run = copy.live_run
    if run.ending is not None and (run.ending.code != "cancelled" or not code):
        code, message = run.ending.code, run.ending.message
    announce_failed_run(copy, run.id, run.assistant_id, code, message)


def give_up_run(copy: WorkingCopy, failure: inputs.RequestRejected) -> None:
    """Create no run for the message, because the server would refuse the run each time."""
    report(copy, failure, will_retry=False)
    copy.owe(None)
    end_run(copy)


def lose_run(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """End a run that the server no longer knows."""
    report(copy, failure, will_retry=False)
    run = copy.live_run
    _announce_end(copy, failure.code or "not_found", failure.message)
    copy.server = attrs.evolve(copy.server, lost_run_id=run.id)
    close_approvals(copy)
    # The calls are kept. If the run appears again, they are not announced again.
    leave_run(copy)
