"""The actions that end a run before it is done, and that drop unsent messages and runs that were not created.

A server may refuse a cancel, lose it, ignore it, or never finish it. So the number of attempts is limited. After the
last attempt, the library stops following the run, even if the run continues on the server.
"""

from __future__ import annotations

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.messages import queued
from gpt_agent_fsm.machine.actions.requests import announce_failed_run, end_run, report
from gpt_agent_fsm.machine.actions.runs import change_run, note_latest_run, poll_run, repeat_later
from gpt_agent_fsm.machine.failure_guards import was_a_cancel
from gpt_agent_fsm.machine.message_guards import head_may_be_sent
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Ending, LiveRun, Turn
from gpt_agent_fsm.machine.working_copy import WorkingCopy

UNSUPPORTED = "unsupported_action"
_NO_CALLS = "it waits for tool outputs, but the server names no tool call"


# --- a run must end -----------------------------------------------------------------------------------


def cancel(copy: WorkingCopy, input_: inputs.CancelRun) -> None:
    _must_end(copy, input_, "cancelled", "The run was cancelled.")


def time_out(copy: WorkingCopy, fact: inputs.DeadlinePassed) -> None:
    sentence = f"The run was cancelled: it took longer than {fact.setting} ({fact.seconds:g} seconds)."
    _must_end(copy, fact, "timeout", sentence)


def _must_end(copy: WorkingCopy, input_: inputs.CancelRun | inputs.DeadlinePassed, code: str, message: str) -> None:
    ending = copy.live_run.ending
    if ending is None or ending.code == "cancelled":
        change_run(copy, ending=Ending(code=code, message=message, tries=ending.tries if ending else 0))
    if copy.sent:
        change_run(copy, must_cancel=not was_a_cancel(copy, input_))
    elif not was_a_cancel(copy, input_):
        send_cancel(copy, input_)


def refuse_action(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    """End a run that waits for something that the library cannot provide."""
    message = f"The run was cancelled: {fact.run.unsupported or _NO_CALLS}."
    change_run(copy, handle=fact.run.handle, ending=Ending(code=UNSUPPORTED, message=message))
    send_cancel(copy, fact)


def send_cancel(copy: WorkingCopy, _: inputs.Input) -> None:
    change_run(copy, must_cancel=False)
    copy.tries = copy.failures = 0
    copy.perform(effects.CancelRun(run_id=copy.live_run.id, handle=copy.live_run.handle))


def cancel_instead(copy: WorkingCopy, failure: inputs.RequestDelayed | inputs.RequestRejected) -> None:
    report(copy, failure, will_retry=False)
    send_cancel(copy, failure)


# --- a run does not end ----------------------------------------------------------------------------------


def insist(copy: WorkingCopy, fact: inputs.RunSeen) -> None:
    """Cancel the run again. If the server is already cancelling the run, wait instead."""
    _count_try(copy)
    change_run(copy, handle=fact.run.handle, refused_polls=0)
    if was_a_cancel(copy, fact) or fact.run.status is RunStatus.CANCELLING:
        _poll_later(copy)
    else:
        send_cancel(copy, fact)


def poll_after_refusal(copy: WorkingCopy, failure: inputs.RequestRejected) -> None:
    """Poll the run after the server has refused a cancel. The run may have ended before the cancel arrived."""
    report(copy, failure, will_retry=True)
    _count_try(copy)
    ending = copy.live_run.ending
    if ending is None or ending.tries <= 1:
        poll_run(copy, failure)
    else:
        _poll_later(copy)


def abandon_run(copy: WorkingCopy, input_: inputs.Input) -> None:
    """Stop following the run, and announce that it has failed, although the server has not reported the run's end."""
    if isinstance(input_, inputs.RequestFailure):
        report(copy, input_, will_retry=False)
    run = copy.live_run
    assert run.ending is not None  # noqa: S101 - the guard has seen to it
    message = f"{run.ending.message} The server did not end it after {run.ending.tries} tries and may still run it."
    announce_failed_run(copy, run.id, run.assistant_id, run.ending.code, message)
    end_run(copy)


def count_and_try_again(copy: WorkingCopy, failure: inputs.RequestDelayed) -> None:
    _count_try(copy)
    repeat_later(copy, failure)


def _count_try(copy: WorkingCopy) -> None:
    ending = copy.live_run.ending
    if ending is not None:
        change_run(copy, ending=attrs.evolve(ending, tries=ending.tries + 1))


def _poll_later(copy: WorkingCopy) -> None:
    ending = copy.live_run.ending
    pause = copy.settings.backoff(max(1, 0 if ending is None else ending.tries))
    copy.tries = copy.failures = 0
    copy.schedule(copy.poll(), effects.Wait(seconds=pause))


# --- a run that is not on the server --------------------------------------------------------------------


def remember_to_cancel(copy: WorkingCopy, _: inputs.CancelRun) -> None:
    """Remember that the user wants to cancel a run that the server may or may not have created.

    If the library finds the run, it cancels the run. If the server has not created the run, the library does not create
    it either.
    """
    copy.owe(attrs.evolve(copy.owed_run, must_cancel=True))
    copy.unpark()


def drop_absent_run(copy: WorkingCopy, fact: inputs.RunsListed) -> None:
    note_latest_run(copy, fact)
    drop_owed_run(copy, fact)


def drop_owed_run(copy: WorkingCopy, _: inputs.Input | inputs.RequestFailure) -> None:
    """Drop the owed run, which is the run that the library must still create or start again. Announce it as failed."""
    _announce_dropped_run(copy)
    copy.owe(None)
    copy.unpark()
    end_run(copy)


def _announce_dropped_run(copy: WorkingCopy) -> None:
    failed = copy.owed_run.retry_of
    run_id, assistant_id = (None, copy.assistant_id) if failed is None else (failed.run_id, failed.assistant_id)
    waited = "it was created" if failed is None else "it was started again"
    announce_failed_run(copy, run_id, assistant_id, "cancelled", f"The run was cancelled before {waited}.")


def _drop_run_behind(copy: WorkingCopy, run: LiveRun) -> None:
    """Drop the owed run, which waits until the run of another client ends. That other run continues."""
    if copy.owed_run.doubt is not None:
        copy.owe(attrs.evolve(copy.owed_run, must_cancel=True))
        return
    _announce_dropped_run(copy)
    turn = Turn(key=run.id, runs=0, retries_left=copy.settings.rate_limit_max_retries)
    copy.outbox = attrs.evolve(copy.outbox, turn=turn, owed=None)


# --- a message instead of the run -------------------------------------------------------------------------


def queue_message_first(copy: WorkingCopy, command: inputs.AddUserMessage) -> inputs.CancelRun | None:
    """Queue a message before the other messages, and end the run in progress."""
    behind_head = head_may_be_sent(copy)
    copy.queue = copy.queue.add_first(queued(command), behind_head=behind_head)
    if isinstance(copy.request, effects.PostMessage) and not behind_head:
        copy.close_request()
    copy.unpark()
    if copy.run is not None and copy.outbox.owed is not None:
        _drop_run_behind(copy, copy.run)
    return inputs.CancelRun() if copy.run is not None or copy.outbox.owed is not None else None


# --- messages that were not sent ------------------------------------------------------------------------


def discard_queue(copy: WorkingCopy, command: inputs.DiscardQueue) -> inputs.CancelRun | None:
    """Drop the messages that were not sent.

    If the first message may have been sent, keep it until the library knows whether it was posted.
    """
    if head_may_be_sent(copy):
        kept = copy.queue.keep_head()
        copy.outbox = attrs.evolve(copy.outbox, head_is_unwanted=True)
        copy.unpark()
    else:
        kept = copy.queue.drop_all()
        if isinstance(copy.request, effects.PostMessage):
            copy.close_request()
    _drop(copy, [message.key for message in copy.queue.messages[len(kept) :]])
    copy.queue = kept
    if not copy.queue and copy.outbox.owed is None:
        copy.unpark()
    if copy.outbox.owed is None:
        return None
    if copy.run is None:
        return inputs.CancelRun()
    _drop_run_behind(copy, copy.run)
    return None


def withdraw_message(copy: WorkingCopy, command: inputs.WithdrawMessage) -> None:
    """Drop one message. If the library was about to post this message, decide the next step again."""
    was_head = copy.queue.head.key == command.key
    copy.queue = copy.queue.without(command.key)
    _drop(copy, [command.key])
    if was_head and isinstance(copy.request, effects.PostMessage):
        copy.close_request()
    if not copy.queue and copy.outbox.owed is None:
        copy.unpark()


def drop_unsent(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Drop a cancelled run or a discarded message whose request has failed. The request is not sent again."""
    report(copy, failure, will_retry=False)
    if copy.outbox.owed is not None:
        drop_owed_run(copy, failure)
    else:
        drop_unwanted_head(copy, failure)


def drop_unwanted_head(copy: WorkingCopy, _: inputs.Input | inputs.RequestFailure) -> None:
    _drop(copy, [copy.queue.head.key])
    copy.queue = copy.queue.take()
    copy.outbox = attrs.evolve(copy.outbox, head_is_unwanted=False)
    copy.close_request()


def _drop(copy: WorkingCopy, keys: list[str]) -> None:
    if keys:
        copy.events.append(events.MessagesDiscarded(thread_id=copy.thread_id, keys=tuple(keys)))
