"""Recognises servers that ignore the requested order of a list.

The library needs the newest entries of a list. So it must know whether the first entries are really the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from gpt_agent_fsm.backends.shared.converter import Page

__all__ = ["ListOrder"]

P = TypeVar("P", bound=Page)
_MAX_PAGES = 1000


class ListOrder:
    """Finds out whether a server always lists the oldest first. Safe to use from any OS thread.

    Args:
        are_oldest_first: a function that returns whether entries are listed oldest first; None if the entries do not
            show it. If it returns True or None for a list that was requested newest first, the list is also requested
            oldest first. If both lists have the same order, the server ignores the requested order. But entries that do
            not show their order prove nothing about other lists: a server that sorts by time may list the entries of
            one second in the same order both times.
    """

    def __init__(self, are_oldest_first: Callable[[Sequence[Any]], bool | None]) -> None:
        self._are_oldest_first = are_oldest_first
        self._is_ignored: bool | None = None
        """Whether the server ignores the requested order; None if this is not known."""

    def newest_first(self, page: P, *, oldest: Callable[[], P], after: Callable[[str], P]) -> P:
        """Return the entries of a list, newest first, even if the server ignores the requested order.

        Args:
            page: the first page of the list as requested newest first.
            oldest: a function that requests the first page of the list oldest first. It is called at most once.
            after: a function that requests, newest first, the page after an entry of the list.
        """
        if len(page.data) < 2:
            return self._from_the_end(page, after) if self._is_ignored else page
        shown = self._are_oldest_first(page.data)
        if shown is False:
            # The list itself shows it. This proves nothing about other lists, because somebody may have set the clock.
            return page
        is_ignored = self._is_ignored
        if is_ignored is None:
            is_ignored = _have_same_order(page.data, oldest().data)
            if shown or is_ignored is False:
                self._is_ignored = is_ignored
        return self._from_the_end(page, after) if is_ignored else page

    @staticmethod
    def _from_the_end(page: P, after: Callable[[str], P]) -> P:
        entries = list(page.data)
        for _ in range(_MAX_PAGES if page.has_more else 0):
            known = {entry.id for entry in entries}
            fresh = [entry for entry in after(entries[-1].id).data if entry.id not in known]
            if not fresh:
                break
            entries += fresh
        return attrs.evolve(page, data=entries[::-1], has_more=False)


def _have_same_order(one: Sequence[Any], other: Sequence[Any]) -> bool | None:
    """Return whether two lists show entries in the same order. Return None if they have too few entries in common.

    The lists were requested one after the other. Between the two requests, the server may have added entries, even at
    the front, because a server may list an entry late.
    """
    ids, other_ids = [entry.id for entry in one], [entry.id for entry in other]
    shared = [id_ for id_ in ids if id_ in set(other_ids)]
    if 2 * len(shared) < len(ids):
        # The two pages are the two ends of a long list.
        return False
    return None if len(shared) < 2 else shared == [id_ for id_ in other_ids if id_ in set(shared)]
