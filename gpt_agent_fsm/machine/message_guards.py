"""The guards (conditions of table rows) about messages that are searched for, discarded or read. See `guards`."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.search import Ambiguous, Found, MorePages, Result, search_message
from gpt_agent_fsm.machine.snapshot import Reading
from gpt_agent_fsm.machine.unread import is_newest_first, older_than_run, unread
from gpt_agent_fsm.machine.working_copy import WorkingCopy

_MAX_REPEATED_READINGS = 2


# --- messages that are queued --------------------------------------------------------------------------


def comes_instead(_: WorkingCopy, command: inputs.AddUserMessage) -> bool:
    return command.instead


# --- messages that are searched for -------------------------------------------------------------------


def is_searching(copy: WorkingCopy, _: inputs.Input) -> bool:
    """Return whether the current request searches for a message that may have been posted."""
    request = copy.request
    return isinstance(request, effects.ListMessages) and request.newest_first and not request.of_reading


def next_page(copy: WorkingCopy, fact: inputs.MessagesListed) -> str | None:
    """Return the id after which the next page starts.

    Return None on the last page, or if the server repeats the same id.
    """
    asked_after = copy.request.after if isinstance(copy.request, effects.ListMessages) else None
    return None if fact.page.next_after == asked_after else fact.page.next_after


def search_result(copy: WorkingCopy, fact: inputs.MessagesListed) -> Result[Message]:
    """Search this page for the head (the first message of the queue), because the head may have been posted."""
    head = copy.queue.head
    assert head.doubt is not None  # noqa: S101 - the library only searches for a message in doubt
    keys_kept = copy.server.message_keys_kept
    return search_message(head, fact.page.messages, head.doubt, next_page(copy, fact), keys_kept=keys_kept)


def is_after_cursor(copy: WorkingCopy, fact: inputs.MessagesListed, message_id: str) -> bool:
    """Return whether a message on this page of a search is known to be newer than the message at the cursor.

    A search lists the newest messages first.
    """
    ids, start = [message.id for message in fact.page.messages], copy.cursor.start
    if start in ids:
        return ids.index(message_id) < ids.index(start)
    # The message at the cursor is on a later page, or on an earlier one.
    return start is None or (isinstance(copy.request, effects.ListMessages) and copy.request.after is None)


def head_may_be_sent(copy: WorkingCopy) -> bool:
    """Return whether the first message of the queue is being posted, or may have been posted."""
    under_way = copy.sent and isinstance(copy.request, effects.PostMessage)
    return bool(copy.queue) and (under_way or copy.queue.doubt is not None)


def has_something_to_discard(copy: WorkingCopy, _: inputs.DiscardQueue) -> bool:
    waits = len(copy.queue) > int(head_may_be_sent(copy) and copy.outbox.head_is_unwanted)
    return waits or copy.outbox.owed is not None


def message_was_not_sent(copy: WorkingCopy, command: inputs.WithdrawMessage) -> bool:
    in_question = 1 if head_may_be_sent(copy) else 0
    return any(message.key == command.key for message in copy.queue.messages[in_question:])


def unwanted_head_is_not_found(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    """Return whether a discarded message, which may have been posted, was not found on the thread.

    The result is also True if the message cannot be distinguished from another message.
    """
    if not (is_searching(copy, fact) and copy.outbox.head_is_unwanted):
        return False
    return message_is_unknowable(copy, fact) or not must_search_message_again(copy, fact)


def found_our_message(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    return is_searching(copy, fact) and isinstance(search_result(copy, fact), Found)


def search_has_more_pages(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    return is_searching(copy, fact) and isinstance(search_result(copy, fact), MorePages)


def message_is_unknowable(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    return is_searching(copy, fact) and isinstance(search_result(copy, fact), Ambiguous)


def must_search_message_again(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    doubt = copy.queue.doubt
    return is_searching(copy, fact) and doubt is not None and doubt.searches_left > 1


# --- messages that are read ---------------------------------------------------------------------------


def looks_at_the_newest(copy: WorkingCopy) -> bool:
    """Return whether the current request of a reading lists the newest messages, in order to join them to the others.

    The backend sees to it that this list is newest first, even if the server ignores the requested order.
    """
    return isinstance(copy.request, effects.ListMessages) and copy.request.of_reading


def read_so_far(copy: WorkingCopy, fact: inputs.MessagesListed) -> tuple[Message, ...]:
    """Return the messages of all pages of the current reading, including this page. Each message is included once."""
    reading, listed = copy.cursor.reading, fact.page.messages
    before = reading.messages if reading else ()
    if looks_at_the_newest(copy):
        listed = listed[::-1]
        again = {message.id for message in listed}
        before = tuple(message for message in before if message.id not in again)
    return tuple({message.id: message for message in (*before, *listed)}.values())


def has_more_to_read(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    reading = copy.cursor.reading
    news = reading is not None and len(read_so_far(copy, fact)) > len(reading.messages)
    return news and next_page(copy, fact) is not None and not looks_at_the_newest(copy)


def cursor_may_be_ignored(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    """Return whether the list after the cursor may lack messages, because the server ignores the cursor or the order.

    This is so if the server lists the newest messages first. It may also be so if the list contains other messages, but
    neither the message at the cursor nor the user's own message, which comes after it. And it may be so if there is
    nothing to publish, unless the list contains the user's own message and not the message at the cursor.
    """
    cursor = copy.cursor
    if cursor.reading is None or cursor.reading.whole or cursor.start is None or looks_at_the_newest(copy):
        return False
    read = attrs.evolve(cursor.reading, messages=read_so_far(copy, fact))
    listed = {message.id for message in read.messages}
    is_elsewhere = cursor.posted_since is not None and listed.isdisjoint((cursor.start, cursor.posted_since))
    follows = cursor.posted_since in listed and cursor.start not in listed
    if is_newest_first(read, cursor) or (listed and is_elsewhere):
        return True
    return not (follows or unpublished(copy, read))


def newest_do_not_join(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    """Return whether messages may be missing between those that are known and the newest that the server lists."""
    reading = copy.cursor.reading
    if reading is None or not looks_at_the_newest(copy) or fact.page.next_after is None:
        return False
    known = {copy.cursor.start, *(message.id for message in reading.messages)}
    return known.isdisjoint(message.id for message in fact.page.messages)


def answer_may_be_late(copy: WorkingCopy, fact: inputs.MessagesListed) -> bool:
    """Return whether the run has completed, but none of its messages is listed yet."""
    cursor = copy.cursor
    if cursor.reading is None or cursor.reading.own or cursor.reading.repeats >= _MAX_REPEATED_READINGS:
        return False
    reading = attrs.evolve(cursor.reading, messages=read_so_far(copy, fact))
    older = older_messages(copy, reading)
    return all(message.id in older for message in unpublished(copy, reading))


def older_messages(copy: WorkingCopy, reading: Reading) -> frozenset[str]:
    """Return the ids of the listed messages that are older than the user's message that the run answers.

    If the library must still create a run for its own message, the result is empty, because the run whose messages are
    read was adopted and answers another message.
    """
    if copy.outbox.owed is not None:
        return frozenset()
    return older_than_run(reading, copy.cursor)


def unpublished(copy: WorkingCopy, reading: Reading) -> list[Message]:
    """Return the messages of a reading that must be published, in order."""
    return [message for message in unread(reading, copy.cursor) if message.id not in copy.cursor.published]


def was_a_reading(copy: WorkingCopy, input_: inputs.Input) -> bool:
    return isinstance(copy.request, effects.ListMessages) and not is_searching(copy, input_)


def was_a_reading_with_an_answer(copy: WorkingCopy, input_: inputs.Input) -> bool:
    """Return whether a request for a list of messages has failed, but some unpublished messages are known.

    The library has these messages from the run itself, or from earlier pages of the list.
    """
    reading = copy.cursor.reading
    return was_a_reading(copy, input_) and reading is not None and bool(unpublished(copy, reading))


def cursor_is_refused(copy: WorkingCopy, _: inputs.RequestRejected) -> bool:
    """Return whether the failed request asked for the messages after the cursor.

    The server may not know the message that the cursor names.
    """
    after = copy.cursor.start
    return after is not None and copy.request == effects.ListMessages(after=after)
