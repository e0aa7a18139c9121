"""Reads whole lists, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gpt_agent_fsm.backends.http import HttpClient
from gpt_agent_fsm.backends.shared.converter import Page
from gpt_agent_fsm.errors import RequestRefused

__all__ = ["entries", "get_page"]

_PAGE = 100


def get_page(client: HttpClient, path: str, shape: type[Page], timeout: float, after: str | None) -> Page:
    """Return the page that follows the id `after`, oldest first. If `after` is None, return the first page."""
    params = {"limit": str(_PAGE), "order": "asc", **({} if after is None else {"after": after})}
    return client.get(path, shape, params=params, timeout=timeout)


def entries(fetch: Callable[[str | None], Page], after: str | None = None) -> Iterator[Any]:
    """Yield the entries of all pages, beginning after the id `after`.

    An entry that the server repeats is yielded once.
    """
    seen: set[str] = set()
    while True:
        page = fetch(after)
        fresh = {entry.id: entry for entry in page.data if entry.id not in seen}
        yield from fresh.values()
        if page.next_after is None:
            return
        if not fresh:
            if len(page.data) == _PAGE:
                # This page may be the whole list, or the first of many pages. Do not guess.
                sentence = f"The server gives the same {_PAGE} entries for each page of a list, so the rest is unknown."
                raise RequestRefused(None, None, sentence)
            return
        seen.update(fresh)
        after = page.next_after
