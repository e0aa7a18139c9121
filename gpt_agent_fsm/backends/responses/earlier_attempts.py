"""Finds the items that earlier attempts and runs have left on a conversation, and closes those that block a run."""

from __future__ import annotations

from typing import cast

from gpt_agent_fsm.backends.http.outcomes import as_transient
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.responses.conversation import Conversation
from gpt_agent_fsm.backends.responses.refusals import asks_for_outputs, is_about_calls
from gpt_agent_fsm.errors import OutcomeUnknown, RequestRefused
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.ports import Run, RunRequest, RunStatus

__all__ = ["make_way", "unless_answered"]

log: Log = get_logger(__name__)


def unless_answered(conversation: Conversation, response: wire.Response, run: Run) -> Run:
    """Return `run`, unless an earlier attempt to create this run has led to an answer.

    In that case, cancel `response`, and return the run of the earlier attempt, as inferred from the conversation. If
    the server does not cancel `response`, return its run instead. This run must be followed to its end, because its
    answer will be on the conversation, too.
    """
    tail = conversation.tail().without(response.output)
    if not tail.has_answered(conversation.outputs_given_to(response.id)):
        return run
    log.info("%s was created twice; it is cancelled because the first one has answered", response.id)
    try:
        left = conversation.cancel(response.id).to_run(run.id)
    except RequestRefused:
        return run
    if left.status.locks_thread or left.status is RunStatus.COMPLETED:
        return left
    return cast("Run", tail.to_run(run.id))


def make_way(conversation: Conversation, error: RequestRefused, request: RunRequest) -> Run | None:
    """Answer the open calls on the conversation, because they are the reason why the server has refused a response.

    Return None after the calls were answered. If the calls belong to the run itself, an earlier attempt to create the
    run has taken effect. In this case, do not answer them, and return the run. A call of an ended run does not count as
    a call of the run itself. It is open again if a response that had continued the ended run was cancelled.

    Raises a `TransientError` if the calls are not listed yet or cannot be answered. If the server had another reason
    for the refusal, raises its error again.
    """
    repeating = request.retry_of is not None
    if not (is_about_calls(error) if repeating else asks_for_outputs(error)):
        raise error
    tail = conversation.tail()
    if tail.asks_for_more_than(request.ended_calls) and request.may_exist and not repeating:
        return tail.to_run(key=request.key)
    # A repeated run sends the outputs for the last run's calls itself, as soon as the calls are listed.
    left_open, try_again = (*tail.left_open, *(() if repeating else tail.open)), as_transient(error)
    if not left_open:
        # Another client has answered the calls since the refusal, or the server does not list the calls yet.
        raise try_again from error
    try:
        # A run that ended while it waited for tools has left calls that nobody will ever answer.
        conversation.close_items(left_open)
    except (RequestRefused, OutcomeUnknown) as failure:
        # Only the outcome of this closing may be unknown. The response itself was certainly refused.
        raise try_again from failure
    return None
