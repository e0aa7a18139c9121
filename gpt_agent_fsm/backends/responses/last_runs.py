"""Finds the last run of a conversation. The API cannot list responses, so the metadata and the items are read."""

from __future__ import annotations

from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.responses.conversation import Conversation
from gpt_agent_fsm.backends.shared.values import lenient_id
from gpt_agent_fsm.errors import RequestRefused
from gpt_agent_fsm.ports import Run, RunPage, RunStatus

__all__ = ["last_runs"]


def last_runs(conversation: Conversation, key: str | None, retry_of: str | None) -> RunPage:
    """Return the last run of a conversation. See `Backend.list_runs`.

    If another client's run follows the run with `key`, return both, the newest first.
    """
    noted = lenient_id(conversation.metadata().get(wire.RUN))
    run = None if noted is None else _noted_run(conversation, noted)
    given = {} if key is None or retry_of is None else conversation.outputs_given_to(retry_of)
    # The tail is read last. An item that the tail lacks was also missing at the time of the reads above.
    tail = conversation.tail()
    if run is not None and run.status is RunStatus.NEEDS_TOOLS:
        run = tail.standing_of(run)
        if run is not None and tail.has_outputs_of(run):
            # A call with an output must not be made again, even if the items after the output are not listed.
            run = tail.to_run(run.id, run.key)
    newer = None
    if key is not None and (run is None or run.key != key):
        if tail.has_answered(given):
            run = tail.to_run(key=key)
    elif tail.open_calls and (run is None or run.status is RunStatus.COMPLETED):
        # The calls are those of another client's run. A caller who searches for the run with the key must see both
        # runs.
        newer, run = tail.to_run(), None if key is None else run
    runs = tuple(each for each in (newer, run) if each is not None)
    return RunPage(runs=runs, newest_message_id=tail.newest_message_id)


def _noted_run(conversation: Conversation, response_id: str) -> Run | None:
    """Return the run of a response whose id was found in the conversation's metadata.

    Return None if the server no longer has the response.
    """
    try:
        return conversation.response(response_id).to_run()
    except RequestRefused:
        return None
