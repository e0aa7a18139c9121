"""Reads the history of a thread, or a part of it. A store that can return parts is read in pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpt_agent_fsm.engine.protocols import PagingStore, Record, Store
from gpt_agent_fsm.engine.protocols.offers import offers

__all__ = ["history_page", "records_after"]

_PAGE = 500


def history_page(
    store: Store, thread_id: str, after: int = 0, limit: int | None = None, *, newest: bool = False
) -> Sequence[Record]:
    """Return a part of a thread's history, as in `PagingStore.history_page`. Without a limit, return all records."""
    if limit is None:
        return store.history(thread_id, after)
    if offers(store, PagingStore):
        return store.history_page(thread_id, after=after, limit=limit, newest=newest)
    records = store.history(thread_id, after)
    return records[-limit:] if newest else records[:limit]


def records_after(store: Store, thread_id: str, after: int) -> Iterator[Record]:
    """Yield the records of a thread with a number above `after`, in order. They are read in pages."""
    if not offers(store, PagingStore):
        yield from store.history(thread_id, after)
        return
    page = store.history_page(thread_id, after=after, limit=_PAGE)
    while page:
        yield from page
        page = store.history_page(thread_id, after=page[-1].seq, limit=_PAGE) if len(page) == _PAGE else ()
