"""Searches the server's lists for a message that may have been posted, or for a run that may have been created.

Until the search is over, such a message or run is *in doubt*. It is recognised by its key, which is a unique text that
the library puts into the metadata. If the server drops metadata, the order decides. If exactly one message with the
same content is newer than everything known before, it is the message in doubt. If exactly one run is newer, it is the
run in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

import attrs

from gpt_agent_fsm.machine.likeness import may_be
from gpt_agent_fsm.machine.objects import Message, Run
from gpt_agent_fsm.machine.queue import Doubt, QueuedMessage

__all__ = ["Absent", "Ambiguous", "Found", "MorePages", "Result", "search_message", "search_run"]

T = TypeVar("T")


@attrs.frozen
class Found(Generic[T]):
    """The search result if the message or run is on the server."""

    item: T


@attrs.frozen
class Absent:
    """The search result if the server does not show the message or run."""


@attrs.frozen
class Ambiguous:
    """The search result if it is unknown whether a message on the page is from the library or from another client."""


@attrs.frozen
class MorePages:
    """The search result if the message is not on this page, but may be on a later page.

    Attributes:
        after: the id of the message after which the next page starts.
    """

    after: str


Result: TypeAlias = Found[T] | Absent | Ambiguous | MorePages


def _newer_than(known: Sequence[str], ids: Sequence[str]) -> int:
    """Return how many ids come before the first known id."""
    return next((position for position, id_ in enumerate(ids) if id_ in known), len(ids))


def search_run(
    key: str, listed: Sequence[Run], doubt: Doubt | None, published: Sequence[str], *, keys_kept: bool
) -> Found[Run] | Absent:
    """Search the newest runs of a thread, listed newest first, for the run with the key `key`.

    The key is a unique text that the library puts into the run's metadata. `doubt` contains the ids that were known
    before the run was requested. If `doubt` is None, only the key decides. A run with this key is not the right one if
    the backend has inferred it from messages that are all in `published`, because it is older. `keys_kept` says whether
    the server is known to keep metadata.
    """
    for run in listed:
        if run.key == key and not _is_stale(run, published):
            return Found(run)
    if doubt is None or keys_kept or any(run.key for run in listed):
        return Absent()
    newer = _newer_than(doubt.known, [run.id for run in listed])
    bounded = newer < len(listed) or doubt.nothing_before
    return Found(listed[0]) if bounded and newer == 1 else Absent()


def _is_stale(run: Run, published: Sequence[str]) -> bool:
    """Return whether an inferred run is stale: all its messages were already published."""
    return run.inferred and bool(run.messages) and all(message.id in published for message in run.messages)


def search_message(
    message: QueuedMessage, page: Sequence[Message], doubt: Doubt, next_after: str | None, *, keys_kept: bool
) -> Result[Message]:
    """Search one page of a thread's messages, newest first, for a message that may have been posted.

    `doubt` contains the ids that were known before the message was sent. The next page starts after `next_after`. If
    `next_after` is None, this page is the last one. `keys_kept` says whether the server has shown the key of an earlier
    message of the library, which the metadata contain.
    """
    for listed in page:
        if listed.key == message.key:
            return Found(listed)
    newer = _newer_messages(page, doubt)
    reached_known = len(newer) < len(page) and not (next_after is not None and _is_at_its_end(page[len(newer)], page))
    keys_listed = any(listed.key for listed in page) or (keys_kept and not _lacks_key_of_known(page, doubt))
    alike = [] if keys_listed else [listed for listed in newer if may_be(message, listed)]
    bounded = reached_known or (doubt.nothing_before and next_after is None)
    if len(alike) == 1 and bounded:
        return Found(alike[0])
    if alike:
        return Ambiguous()
    return Absent() if reached_known or next_after is None else MorePages(next_after)


def _is_at_its_end(message: Message, page: Sequence[Message]) -> bool:
    """Return whether a message is as old as the last one of its page.

    A server that sorts by time, which it counts in seconds, may list a newer message of the same second on the next
    page.
    """
    return message.created_at is not None and message.created_at == page[-1].created_at


def _lacks_key_of_known(page: Sequence[Message], doubt: Doubt) -> bool:
    """Return whether a known message of a user is listed without a key.

    Some servers show metadata in the answer to a POST, but not in a list.
    """
    return any(listed.role == "user" and listed.key is None and listed.id in doubt.known for listed in page)


def _newer_messages(page: Sequence[Message], doubt: Doubt) -> Sequence[Message]:
    """Return the messages of the page that are newer than all messages known before."""
    times = [message.created_at for message in page if message.created_at is not None]
    if times and times[0] < times[-1]:
        # The server lists the oldest first although the newest first were requested. So every message may be newer.
        return page
    return page[: _newer_than(doubt.known, [message.id for message in page])]
