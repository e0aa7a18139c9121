"""The guards (conditions of rows in the machine's table) for requests that did not succeed."""

from __future__ import annotations

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.working_copy import WorkingCopy

_MIN_TRIES_WHEN_MALFORMED = 3
"""If the HTTP answer cannot be read, a request gets at least this many attempts, even if the settings allow
fewer. `engine.retrying` uses the same number for calls whose callers wait."""
_REFUSED_POLLS = 3
"""The number of refused polls in a row after which a run counts as lost."""


def may_try_again(copy: WorkingCopy, failure: inputs.RequestFailure) -> bool:
    """Return whether to send the request again.

    This is so if attempts are left, or if an active run locks the thread.
    """
    if is_locked(failure):
        return True
    limit = copy.settings.request_max_attempts
    if failure.status is not None and 200 <= failure.status < 300:
        # The server's HTTP answer could not be read. Perhaps a proxy failed for a moment.
        limit = max(limit, _MIN_TRIES_WHEN_MALFORMED)
    return copy.attempt < limit


def is_locked(failure: inputs.RequestFailure) -> bool:
    """Return whether an active run locks the thread but cannot be listed."""
    return isinstance(failure, inputs.RequestBlocked) and failure.locked


def was_a_submission(copy: WorkingCopy, _: inputs.Input) -> bool:
    return isinstance(copy.request, effects.SubmitToolOutputs)


def was_a_cancel(copy: WorkingCopy, _: inputs.Input) -> bool:
    return isinstance(copy.request, effects.CancelRun)


def outputs_are_out_of_tries(copy: WorkingCopy, input_: inputs.Input) -> bool:
    return was_a_submission(copy, input_) and copy.attempt >= copy.settings.tool_output_max_attempts


def unwanted_was_not_sent(copy: WorkingCopy, _: inputs.RequestFailure) -> bool:
    """Return whether the failed request was for a cancelled run or a discarded message.

    Such a request is not sent again.
    """
    owed, outbox = copy.outbox.owed, copy.outbox
    if isinstance(copy.request, effects.CreateRun):
        return owed is not None and owed.must_cancel
    return isinstance(copy.request, effects.PostMessage) and outbox.head_is_unwanted


def may_be_denied_by_mistake(copy: WorkingCopy, failure: inputs.RequestNeedsOperator) -> bool:
    """Return whether to poll or cancel again although the API key was refused.

    The refusal may be a mistake, because the key has worked for this run before.
    """
    reads = isinstance(copy.request, effects.GetRun | effects.CancelRun)
    return reads and not failure.quota and copy.attempt < copy.settings.request_max_attempts


def poll_may_be_refused_by_mistake(copy: WorkingCopy, _: inputs.RequestRejected) -> bool:
    """Return whether to poll again although the server says that it does not know the run.

    For a moment after the creation of a run, another replica of the server may not know it. A gateway may also send one
    request to the wrong server.
    """
    return isinstance(copy.request, effects.GetRun) and copy.live_run.refused_polls + 1 < _REFUSED_POLLS


def ending_is_denied(copy: WorkingCopy, failure: inputs.RequestNeedsOperator) -> bool:
    """Return whether the server has refused the API key while the run must end. False for an exhausted balance."""
    return copy.live_run.ending is not None and not failure.quota


def run_is_refused_for_good(copy: WorkingCopy, failure: inputs.RequestRejected) -> bool:
    return isinstance(copy.request, effects.CreateRun) and failure.content_refused


def content_is_refused(copy: WorkingCopy, failure: inputs.RequestRejected) -> bool:
    return isinstance(copy.request, effects.PostMessage) and failure.content_refused


def outcome_is_in_doubt(copy: WorkingCopy, _: inputs.Input) -> bool:
    return copy.sent and copy.request is not None and not copy.request.repeatable
