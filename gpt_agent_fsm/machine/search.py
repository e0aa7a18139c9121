"""Searching the server for something in doubt: a message that may have been posted, a run that may have been created.

Both are recognised by the key that the library sends as metadata. If the server drops metadata, fall back on order: if
exactly one message (or run) is newer than everything known before and looks like it, it is the one in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

import attrs

from gpt_agent_fsm.machine.objects import Message, Run
from gpt_agent_fsm.machine.queue import Doubt, QueuedMessage

__all__ = ["Absent", "Ambiguous", "Found", "MorePages", "Result", "search_message", "search_run"]

T = TypeVar("T")


@attrs.frozen
class Found(Generic[T]):
    """It is on the server."""

    item: T


@attrs.frozen
class Absent:
    """It is not there, as far as can be seen now."""


@attrs.frozen
class Ambiguous:
    """Something is there that may come from the library or from another client, and it is impossible to decide."""


@attrs.frozen
class MorePages:
    """It is not on this page, and may be on a later one.

    Attributes:
        after: where the next page starts.
    """

    after: str


Result: TypeAlias = Found[T] | Absent | Ambiguous | MorePages


def _newer_than(known: Sequence[str], ids: Sequence[str]) -> int:
    """Return how many ids come before the first known id."""
    return next((position for position, id_ in enumerate(ids) if id_ in known), len(ids))


def search_run(
    key: str, listed: Sequence[Run], doubt: Doubt | None, published: Sequence[str], *, keys_kept: bool
) -> Found[Run] | Absent:
    """Search the newest runs of a thread, newest first, for the run with `key`.

    `doubt` says what was known before the run; None if nothing is in doubt and only the key counts. A run that is
    inferred only from `published` messages is an older one. `keys_kept`: the server is known to keep keys.
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
    """Search one page of a thread's messages, the newest first, for one that may have been posted.

    `doubt` says what was known before the message; the next page starts at `next_after`, None at the end.
    `keys_kept`: the server is known to keep keys.
    """
    for listed in page:
        if listed.key == message.key:
            return Found(listed)
    newer = _newer_messages(page, doubt)
    reached_known = len(newer) < len(page)
    keys_kept = keys_kept or any(listed.key for listed in page)
    alike = [] if keys_kept else [m for m in newer if m.role == "user" and m.content == message.content]
    bounded = reached_known or (doubt.nothing_before and next_after is None)
    if len(alike) == 1 and bounded:
        return Found(alike[0])
    if alike:
        return Ambiguous()
    return Absent() if reached_known or next_after is None else MorePages(next_after)


def _newer_messages(page: Sequence[Message], doubt: Doubt) -> Sequence[Message]:
    """Return the messages of the page that are newer than everything known before."""
    times = [message.created_at for message in page if message.created_at is not None]
    if times and times[0] < times[-1]:
        # The server lists the oldest first, although the newest were requested: only the last page is the end.
        return page
    return page[: _newer_than(doubt.known, [message.id for message in page])]
