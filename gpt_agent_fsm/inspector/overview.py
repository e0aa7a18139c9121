"""The page that lists the threads: its rows, its filters, and its pages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from gpt_agent_fsm.engine.showing import printable, waiting_for
from gpt_agent_fsm.engine.times import age, moment
from gpt_agent_fsm.inspector.source import Source
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.ports import ThreadRow

__all__ = ["PER_PAGE", "Overview", "Row", "overview_of", "rows_of"]

PER_PAGE = 50


@attrs.frozen
class Row:
    """A row of the table. `thread_id` is for links, and `name` is the same id without control characters."""

    thread_id: str
    name: str
    state: State
    last_event: str
    age: str
    at: str
    tokens: str
    waiting_for: str


@attrs.frozen
class Overview:
    """A page of the list.

    Attributes:
        rows: the rows of this page.
        found: how many threads the filters leave over, on all pages.
        counts: how many threads of the search are in each state.
        total: how many threads there are.
        page, pages: the number of this page, from 1, and how many pages there are.
        note: a sentence if nothing drives threads that have something to do; otherwise "".
    """

    rows: Sequence[Row]
    found: int
    counts: dict[State, int]
    total: int
    page: int
    pages: int
    note: str


def overview_of(source: Source, state: str, words: str, page: int) -> Overview:
    """Return a page of the threads in a state whose id contains the words. "" stands for all states or ids."""
    rows = source.rows()
    named = [row for row in rows if words.lower() in row.snapshot.thread_id.lower()]
    found = [row for row in named if not state or row.snapshot.state == state]
    counted = Counter(row.snapshot.state for row in named)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(page, 1), pages)
    halt = source.halt()
    rests = all(row.snapshot.settled and not row.commands for row in rows)
    return Overview(
        rows_of(found[(page - 1) * PER_PAGE : page * PER_PAGE], halted=bool(halt)),
        len(found),
        {each: counted[each] for each in State},
        len(rows),
        page,
        pages,
        "" if rests else halt,
    )


def rows_of(found: Iterable[ThreadRow], *, halted: bool) -> list[Row]:
    """Return the rows of these threads, with the words of the command `threads`.

    `halted` is True if nothing drives the threads.
    """
    now = time.time()
    return [_row_of(row, now, halted=halted) for row in found]


def _row_of(row: ThreadRow, now: float, *, halted: bool) -> Row:
    at = row.last_event_at
    return Row(
        row.snapshot.thread_id,
        printable(row.snapshot.thread_id),
        row.snapshot.state,
        row.last_event or "-",
        "-" if at is None else age(now - at),
        "" if at is None else moment(at),
        f"{row.snapshot.usage.total_tokens:,}",
        printable(waiting_for(row, halted=halted)),
    )
