"""The guards of the rows in the machine's table. A guard is the condition of a row. It changes nothing.

A guard takes the working copy of the snapshot, and the input. The type of its input says in which rows the guard may be
used.
"""

from __future__ import annotations

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.call_guards import has_unique_calls, is_stale_for_long, run_needs_tools
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.queue import Doubt
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.search import Found, search_run
from gpt_agent_fsm.machine.working_copy import WorkingCopy

# --- at rest ------------------------------------------------------------------------------------------


def is_free(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether the thread is free to make a request: none is due or in flight, and the agent is not stopping."""
    return copy.request is None and not copy.stopping


def is_parked(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.outbox.parked


def must_check_for_run(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.server.must_check


def must_search_for_owed_run(copy: WorkingCopy, input_: inputs.Input) -> bool:
    return must_check_for_run(copy, input_) and owed_run_is_in_doubt(copy, input_)


def has_unread_messages(copy: WorkingCopy, _: inputs.Input) -> bool:
    reading = copy.cursor.reading
    return reading is not None and not (reading.postponed and has_something_to_send(copy))


def has_something_to_send(copy: WorkingCopy) -> bool:
    """Return whether a message or a run must still be sent."""
    return bool(copy.queue) or copy.outbox.owed is not None


def is_over_budget(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether the token limit is reached while a message or a run must still be sent."""
    limit = copy.token_limit
    waits = copy.outbox.owed is not None or (bool(copy.queue) and copy.queue.doubt is None)
    return limit is not None and waits and copy.usage.total_tokens >= limit


def request_is_over_budget(copy: WorkingCopy, input_: inputs.Input) -> bool:
    """Return whether the token limit is reached while a request to post a message or create a run waits.

    The limit may have been changed after the request began to wait.
    """
    starts = isinstance(copy.request, effects.PostMessage | effects.CreateRun)
    return starts and not copy.sent and _run_doubt(copy) is None and is_over_budget(copy, input_)


def owes_a_run(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.outbox.owed is not None


def owed_run_is_in_doubt(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether the library must search for the owed run (the next run to create) before it creates the run.

    It must if an earlier request may have created the run, unless the current input is the result of such a search.
    """
    return _run_doubt(copy) is not None and not copy.just_searched


def has_queued_message(copy: WorkingCopy, _: inputs.Input) -> bool:
    return bool(copy.queue)


def message_is_in_doubt(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.queue.doubt is not None


def has_request(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.request is not None


def request_waits(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.request is not None and not copy.sent


def has_nothing_to_do(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.request is None


def is_waiting(copy: WorkingCopy, _: inputs.StillWaiting) -> bool:
    return copy.waiting is not None


# --- the run ------------------------------------------------------------------------------------------


def run_is_another(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.id != copy.live_run.id


def run_is_completed(_: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.status is RunStatus.COMPLETED


def run_is_rate_limited(_: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.status is RunStatus.RATE_LIMITED


def run_may_be_retried(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    turn = copy.outbox.turn
    return run_is_rate_limited(copy, fact) and turn is not None and turn.retries_left > 0


def unwanted_run_is_rate_limited(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return run_is_rate_limited(copy, fact) and is_ending(copy, fact)


def run_is_out_of_quota(_: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.status is RunStatus.OUT_OF_QUOTA


def run_is_failed(_: WorkingCopy, fact: inputs.RunSeen) -> bool:
    return fact.run.status is RunStatus.FAILED


def is_to_be_cancelled(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.live_run.must_cancel


def is_ending(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.live_run.ending is not None


def cannot_be_ended(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether the library must stop trying to end the run, because it has tried often enough."""
    ending = copy.live_run.ending
    # One attempt consists of a cancel and a poll. Each of the two counts as one of the `tries`.
    return ending is not None and ending.tries >= 2 * copy.settings.request_max_attempts


def waits_for_the_impossible(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the run waits for something that the library cannot provide.

    This is also True if the run has needed tools for too long without naming a call.

    If `run_timeout` is set, return False. Then the run may wait until this timeout, because another client may provide
    what the run waits for.
    """
    if copy.settings.run_timeout is not None:
        return False
    names_nothing = waits_for_nothing(copy, fact) and is_stale_for_long(copy)
    return run_needs_tools(copy, fact) and (bool(fact.run.unsupported) or names_nothing)


def waits_for_nothing(copy: WorkingCopy, fact: inputs.RunSeen) -> bool:
    """Return whether the run needs tools but names no call. Some servers name the calls only in a later poll."""
    return run_needs_tools(copy, fact) and not fact.run.tool_calls


def run_may_exist(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether a run was requested, but the library does not know whether the server has created it."""
    asked = copy.sent and isinstance(copy.request, effects.CreateRun)
    return asked or _run_doubt(copy) is not None


def owed_run_is_unwanted(copy: WorkingCopy, _: inputs.RunsListed) -> bool:
    owed = copy.outbox.owed
    return searches_for_our_run(copy) and owed is not None and owed.must_cancel


def _run_doubt(copy: WorkingCopy) -> Doubt | None:
    owed = copy.outbox.owed
    return None if owed is None else owed.doubt


# --- runs that are searched for -----------------------------------------------------------------------


def our_run(copy: WorkingCopy, fact: inputs.RunsListed) -> Run | None:
    """Return the listed run that a request with a lost HTTP answer has created. Return None without such a run."""
    if not isinstance(copy.request, effects.GetLatestRun) or copy.request.key is None:
        return None
    # A server that keeps the keys of messages also keeps the keys of runs. The reverse is not always true.
    keys_kept = copy.server.run_keys_kept or copy.server.message_keys_kept
    doubt, published = _run_doubt(copy), copy.cursor.published
    # If an inferred run has the calls of a run that has ended, both are the same run.
    runs = [run for run in fact.runs if not (run.inferred and _is_over(copy, run))]
    found = search_run(copy.request.key, runs, doubt, published, keys_kept=keys_kept)
    return found.item if isinstance(found, Found) else None


def found_our_run(copy: WorkingCopy, fact: inputs.RunsListed) -> bool:
    return our_run(copy, fact) is not None


def run_to_adopt(copy: WorkingCopy, fact: inputs.RunsListed) -> Run | None:
    """Return the run in progress that the library should adopt (follow as if it had created the run), or None.

    If the server has said that a run blocks the thread, all listed runs are examined, because not all servers list the
    newest run first. In this case, a run that is being cancelled may be adopted, too.
    """
    candidates = fact.runs if copy.tries else fact.runs[:1]
    for run in candidates:
        in_the_way = run.status.locks_thread if copy.tries else run.status.in_progress
        # The server has said before that it does not know the run `lost_run_id`. If adopted, it would be lost again.
        if in_the_way and not _is_over(copy, run) and not (copy.tries and run.id == copy.server.lost_run_id):
            return run
    return None


def _is_over(copy: WorkingCopy, run: Run) -> bool:
    """Return whether a listed run has already ended, although the server lists it as in progress."""
    calls = {call.id for call in run.tool_calls}
    left_behind = has_unique_calls(run) and bool(calls) and calls.issubset(copy.server.ended_calls)
    return left_behind or run.id in copy.server.ended_run_ids


def found_a_run_to_adopt(copy: WorkingCopy, fact: inputs.RunsListed) -> bool:
    return run_to_adopt(copy, fact) is not None


def searches_for_our_run(copy: WorkingCopy) -> bool:
    """Return whether the current request searches for a run that may have been created."""
    return isinstance(copy.request, effects.GetLatestRun) and copy.request.key is not None


def must_search_run_again(copy: WorkingCopy, _: inputs.RunsListed) -> bool:
    doubt = _run_doubt(copy)
    return searches_for_our_run(copy) and doubt is not None and doubt.searches_left > 1
