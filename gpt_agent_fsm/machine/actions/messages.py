"""The actions that post the user's messages, and that read and publish the assistant's messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.requests import doubt_message, park, report, report_doubt
from gpt_agent_fsm.machine.guards import has_something_to_send
from gpt_agent_fsm.machine.likeness import without_data
from gpt_agent_fsm.machine.message_guards import (
    is_after_cursor,
    next_page,
    older_messages,
    read_so_far,
    search_result,
    unpublished,
)
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.queue import QueuedMessage
from gpt_agent_fsm.machine.search import Found
from gpt_agent_fsm.machine.snapshot import Newest, OwedRun, Reading, Turn
from gpt_agent_fsm.machine.unread import oldest_first
from gpt_agent_fsm.machine.working_copy import WorkingCopy

_REMEMBERED = 50


# --- a message is posted -------------------------------------------------------------------------------


def queue_message(copy: WorkingCopy, command: inputs.AddUserMessage) -> None:
    copy.queue = copy.queue.add(queued(command))
    copy.unpark()


def queued(command: inputs.AddUserMessage) -> QueuedMessage:
    """Return the queued message for a command of the user."""
    return QueuedMessage(key=command.key, content=command.content, run_options=command.run_options, parts=command.parts)


def post_message(copy: WorkingCopy, _: inputs.Proceed) -> None:
    copy.perform(_post_head(copy))


def _post_head(copy: WorkingCopy) -> effects.PostMessage:
    head = copy.queue.head
    return effects.PostMessage(key=head.key, content=head.content, parts=head.parts)


def confirm_message(copy: WorkingCopy, fact: inputs.MessagePosted) -> None:
    _message_is_on_the_thread(copy, fact.message_id, key_kept=fact.key_kept)


def confirm_found_message(copy: WorkingCopy, fact: inputs.MessagesListed) -> None:
    found = search_result(copy, fact)
    assert isinstance(found, Found)  # noqa: S101 - the guard has seen to it
    is_newer = is_after_cursor(copy, fact, found.item.id)
    _message_is_on_the_thread(copy, found.item.id, key_kept=found.item.key is not None)
    if not is_newer:
        # The messages of another run were read while this message was in doubt.
        copy.cursor = attrs.evolve(copy.cursor, posted_since=None)


def _message_is_on_the_thread(copy: WorkingCopy, message_id: str, *, key_kept: bool) -> None:
    head, server = copy.queue.head, copy.server
    copy.queue = copy.queue.take()
    copy.server = attrs.evolve(
        server, last_posted=Newest.seen(message_id), message_keys_kept=server.message_keys_kept or key_kept
    )
    copy.cursor = attrs.evolve(copy.cursor, posted_since=message_id)
    if copy.outbox.head_is_unwanted:
        copy.outbox = attrs.evolve(copy.outbox, turn=None, owed=None, head_is_unwanted=False)
    else:
        turn = Turn(
            key=head.key,
            runs=1,
            retries_left=copy.settings.rate_limit_max_retries,
            run_options=head.run_options,
        )
        copy.outbox = attrs.evolve(copy.outbox, turn=turn, owed=OwedRun())
    copy.close_request()
    copy.events.append(
        events.UserMessageAdded(
            id=message_id,
            thread_id=copy.thread_id,
            content=head.content,
            key=head.key,
            parts=tuple(map(without_data, head.parts)),
        )
    )


def drop_message(copy: WorkingCopy, failure: inputs.RequestRejected) -> None:
    """Drop a message whose text the server will never accept. The messages after it can then be sent."""
    report(copy, failure, will_retry=False)
    copy.queue = copy.queue.take()
    copy.outbox = attrs.evolve(copy.outbox, head_is_unwanted=False)
    copy.close_request()


# --- a message is searched for ------------------------------------------------------------------------


def search_for_message(copy: WorkingCopy, _: inputs.Proceed) -> None:
    copy.perform(effects.ListMessages(after=None, newest_first=True))


def search_next_page(copy: WorkingCopy, fact: inputs.MessagesListed) -> None:
    copy.perform(effects.ListMessages(after=next_page(copy, fact), newest_first=True))


def search_message_again(copy: WorkingCopy, _: inputs.MessagesListed) -> None:
    doubt = copy.queue.doubt
    assert doubt is not None  # noqa: S101 - the guard has seen to it
    doubt_message(copy, doubt.searches_left - 1)
    again = effects.ListMessages(after=None, newest_first=True)
    copy.schedule(again, effects.Wait(seconds=copy.settings.outcome_grace))


def conclude_absence(copy: WorkingCopy, _: inputs.MessagesListed) -> None:
    copy.queue = copy.queue.with_doubt(None)
    copy.drop_request()


def give_up_search(copy: WorkingCopy, _: inputs.MessagesListed) -> None:
    report_doubt(
        copy,
        _post_head(copy),
        "It is unknown whether the message was posted: the server keeps no metadata, and a message with the "
        "same text is on the thread. The message stays at the head of the queue.",
        will_retry=False,
    )
    park(copy)


# --- answers are read ---------------------------------------------------------------------------------


_NEWEST = effects.ListMessages(after=None, newest_first=True, of_reading=True)


def _change_reading(copy: WorkingCopy, **changes: Any) -> None:  # noqa: ANN401 - any fields
    copy.cursor = attrs.evolve(copy.cursor, reading=attrs.evolve(_reading(copy), **changes))


def _reading(copy: WorkingCopy) -> Reading:
    assert copy.cursor.reading is not None  # noqa: S101 - only a reading requests pages
    return copy.cursor.reading


def read_messages(copy: WorkingCopy, _: inputs.Proceed) -> None:
    _change_reading(copy, whole=False, messages=())
    copy.perform(effects.ListMessages(after=copy.cursor.start))


def read_next_page(copy: WorkingCopy, fact: inputs.MessagesListed) -> None:
    copy.failures = 0
    _change_reading(copy, messages=read_so_far(copy, fact))
    copy.perform(effects.ListMessages(after=next_page(copy, fact)))


def look_at_the_newest(copy: WorkingCopy, _: inputs.MessagesListed) -> None:
    """Request the newest messages, and forget those after the cursor, because their order is not known."""
    copy.failures = 0
    _change_reading(copy, messages=())
    copy.perform(_NEWEST)


def read_from_the_start(copy: WorkingCopy, _: inputs.Input) -> None:
    copy.failures = 0
    _change_reading(copy, whole=True, messages=())
    copy.perform(effects.ListMessages(after=None))


def read_without_cursor(copy: WorkingCopy, failure: inputs.RequestRejected) -> None:
    report(copy, failure, will_retry=True)
    read_from_the_start(copy, failure)


def read_again_later(copy: WorkingCopy, fact: inputs.MessagesListed) -> None:
    """Request the newest messages after a while. They are joined to those that are known, however many these are."""
    copy.failures = 0
    _change_reading(copy, messages=read_so_far(copy, fact), repeats=_reading(copy).repeats + 1)
    _change_reading(copy, messages=oldest_first(_reading(copy), copy.cursor))
    copy.schedule(_NEWEST, copy.poll_interval())


def publish_messages(copy: WorkingCopy, fact: inputs.MessagesListed) -> None:
    _end_reading(copy, attrs.evolve(_reading(copy), messages=read_so_far(copy, fact)))


def publish_what_is_there(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Publish the messages that the library already has, because the request for a list of messages has failed.

    The library has these messages from the run itself, or from earlier pages of the list.
    """
    report(copy, failure, will_retry=False)
    _end_reading(copy, _reading(copy))


def give_up_reading(copy: WorkingCopy, failure: inputs.RequestFailure) -> None:
    """Stop reading for now, so that queued messages can be sent. A later reading finds the unread messages."""
    report(copy, failure, will_retry=False)
    copy.cursor = attrs.evolve(copy.cursor, reading=attrs.evolve(_reading(copy), postponed=True))
    if has_something_to_send(copy):
        copy.close_request()
    else:
        park(copy)


def _end_reading(copy: WorkingCopy, reading: Reading) -> None:
    found = unpublished(copy, reading)
    older = older_messages(copy, reading)
    copy.cursor = attrs.evolve(copy.cursor, reading=None)
    publish(copy, found, reading.run_id, reading.assistant_id, older)
    if copy.outbox.owed is None and copy.cursor.posted_since in {message.id for message in reading.messages}:
        copy.cursor = attrs.evolve(copy.cursor, read_to=copy.cursor.posted_since)
    copy.close_request()


def publish(
    copy: WorkingCopy,
    found: Sequence[Message],
    run_id: str,
    assistant_id: str,
    older: Collection[str] = (),
) -> None:
    """Announce messages, and move the cursor to the last of them.

    `run_id` and `assistant_id` are for messages for which the server names no run or no assistant. `older` contains the
    ids of the messages that are older than the user message that the run answers.
    """
    for message in found:
        copy.events.append(
            events.AssistantMessageAdded(
                message_id=message.id,
                thread_id=copy.thread_id,
                run_id=message.run_id or run_id,
                assistant_id=message.assistant_id or assistant_id,
                content=message.content,
                refusal=message.refusal,
                parts=message.parts,
                older=message.run_id is None and message.id in older,
                reasoning=message.reasoning,
            )
        )
    if found:
        published = (*copy.cursor.published, *(message.id for message in found))[-_REMEMBERED:]
        copy.cursor = attrs.evolve(copy.cursor.moved_to(found[-1].id), published=published)
