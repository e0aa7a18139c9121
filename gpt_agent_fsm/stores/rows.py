"""Builds queues, records and the data of threads from the rows of the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import Doubt, Queue, QueuedMessage
from gpt_agent_fsm.ports import Record, Saved
from gpt_agent_fsm.stores import codec
from gpt_agent_fsm.stores.direct import Row

__all__ = ["by_thread", "check_numbers", "outline_of", "record_of", "saved_of"]


def check_numbers(row: Row) -> None:
    """Raise `StoreError` if a number of a thread's row is none. SQLite keeps any value in any column."""
    try:
        for name in ("accepted", "announced", "last_seq"):
            int(row[name])
    except (TypeError, ValueError) as error:
        raise _damaged(row["thread_id"]) from error


def _damaged(thread_id: str) -> StoreError:
    return StoreError(f"The store has damaged data of {thread_id}: a number cannot be read.")


def saved_of(
    row: Row,
    queue: Sequence[Row],
    commands: Sequence[Row],
    records: Sequence[Row],
    announced: int = 0,
) -> Saved:
    """Return the data of a thread from its rows in the database. Raises `StoreError` for invalid rows.

    The record with the number `announced`, and all records before it, are left out.
    """
    thread_id = row["thread_id"]
    try:
        messages = Queue.of((entry["number"], codec.decode_message(entry["message"])) for entry in queue)
        return Saved(
            snapshot=codec.decode_snapshot(row["snapshot"], messages),
            due=None if row["due"] is None else float(row["due"]),
            inbox=tuple((command["number"], codec.decode_command(command["command"])) for command in commands),
            unannounced=tuple(record_of(record) for record in records if record["seq"] > announced),
            last_seq=row["last_seq"],
        )
    except (TypeError, ValueError) as error:
        raise _damaged(thread_id) from error


def outline_of(count: int, *, in_doubt: bool) -> Queue:
    """Return a queue of this many messages without contents. Equal messages are one object."""
    message = QueuedMessage(key="", content="")
    head = QueuedMessage(key="", content="", doubt=Doubt(searches_left=0)) if in_doubt else message
    return Queue((head, *(message for _ in range(count - 1))))


def record_of(row: Row) -> Record:
    """Return a record from its row. Raises `StoreError` for an event that cannot be read."""
    return Record(seq=row["seq"], at=row["at"], event=codec.decode_event(row["kind"], row["body"]))


def by_thread(rows: Iterable[Row]) -> defaultdict[str, list[Row]]:
    """Return the rows of each thread."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["thread_id"]].append(row)
    return found
