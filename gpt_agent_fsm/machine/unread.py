"""Finds the new messages of a reading, even if the server ignores the parameters `order` or `after`."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.snapshot import Cursor, Reading

__all__ = ["is_newest_first", "oldest_first", "older_than_run", "unread"]


def _position(messages: Sequence[Message], message_id: str | None) -> int | None:
    return next((i for i, message in enumerate(messages) if message.id == message_id), None)


def is_newest_first(reading: Reading, cursor: Cursor) -> bool:
    """Return whether the server has listed the newest messages first although the oldest first were requested.

    The user's own message is newer than the message at the cursor, and older than the messages that the run reports.
    """
    messages = reading.messages
    times = [message.created_at for message in messages if message.created_at is not None]
    if times and times[0] != times[-1]:
        return times[0] > times[-1]
    read, posted = _start(messages, cursor), _position(messages, cursor.posted_since)
    if posted is None:
        return False
    if read is not None:
        return posted < read
    own = {message.id for message in reading.own}
    # An adopted run has perhaps begun before the user's own message. Then its messages are on both sides of it.
    before, after = (any(message.id in own for message in part) for part in (messages[:posted], messages[posted:]))
    return before and not after


def _start(messages: Sequence[Message], cursor: Cursor) -> int | None:
    """Return the position of the newest listed message that is known to be read, or None if none is listed."""
    read_to = _position(messages, cursor.read_to)
    return _position(messages, cursor.last_message_id) if read_to is None else read_to


def oldest_first(reading: Reading, cursor: Cursor) -> tuple[Message, ...]:
    """Return the messages of a reading in the order in which they were added to the thread."""
    return reading.messages[::-1] if is_newest_first(reading, cursor) else reading.messages


def older_than_run(reading: Reading, cursor: Cursor) -> frozenset[str]:
    """Return the ids of the messages that are listed before the message that the run answers.

    These messages do not belong to the run, unless the server says so.
    """
    messages = oldest_first(reading, cursor)
    before = messages[: _position(messages, cursor.posted_since) or 0]
    return frozenset(message.id for message in before if message.run_id != reading.run_id)


def unread(reading: Reading, cursor: Cursor) -> list[Message]:
    """Return the assistant's messages after the position of the cursor, oldest first.

    The result includes messages that the run itself reports, even if the server does not list them yet. A reading of
    the whole thread may not contain the message at the cursor. In this case, if the messages of the run can be
    recognised, the result contains only these, so that no old message is published twice.
    """
    messages = oldest_first(reading, cursor)
    start = _start(messages, cursor)
    if start is not None:
        messages = (*_of_the_same_second(messages[:start], messages[start], reading), *messages[start + 1 :])
    elif cursor.start and reading.whole and (reading.own or any(message.run_id for message in messages)):
        own = {message.id for message in reading.own}
        messages = tuple(each for each in messages if each.run_id == reading.run_id or each.id in own)
    heard = [message for message in messages if message.is_worth_publishing]
    return heard + _late(reading, heard)


def _of_the_same_second(before: Sequence[Message], at: Message, reading: Reading) -> list[Message]:
    """Return the messages of the run that are listed before the cursor, but are as old as the message `at` the cursor.

    A server that sorts by time, which it counts in seconds, may list the messages of one second in any order.
    """
    same = (each for each in before if each.created_at is not None and each.created_at == at.created_at)
    return [each for each in same if each.run_id == reading.run_id and at.run_id != reading.run_id]


def _late(reading: Reading, heard: Sequence[Message]) -> list[Message]:
    """Return the messages that the run reports but the server does not list yet.

    A message is also regarded as listed if a listed message has the same content, because some servers change the ids.
    """
    listed = {message.id for message in reading.messages}
    contents = {(message.content, message.parts) for message in heard}
    return [
        message
        for message in reading.own
        if message.is_worth_publishing and message.id not in listed and (message.content, message.parts) not in contents
    ]
