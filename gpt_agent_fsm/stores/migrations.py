"""Migrations from the tables of older versions to the current tables, in numbered steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import sqlalchemy as sa

from gpt_agent_fsm.stores import schema

__all__ = ["bring_up_to_date"]

_AT_ONCE = 500
_FIELDS_OF_VERSION_1 = {
    *("version", "thread_id", "assistant_id", "state", "queue", "last_posted_id", "turn", "run_owed", "parked"),
    *("run_id", "run_handle", "run_assistant_id", "last_run_id", "ended_run_ids", "ended_calls", "look", "cancelling"),
    *("timed_out", "tool_calls", "outputs_accepted", "repeats", "lost_run_id"),
    *("last_message_id", "posted_since", "published", "reading"),
    *("request", "sent", "tries", "failures", "message_doubt", "run_doubt", "message_keys_kept", "run_keys_kept"),
}
_LIVE = ("running", "awaiting_tools", "submitting")

Doc: TypeAlias = dict[str, Any]


def bring_up_to_date(connection: sa.Connection) -> None:
    """Run every migration that the database still needs, within the open transaction."""
    schema.lock_tables(connection)
    # Each writer locks this row before it writes. So nothing else is written while the steps run.
    version = connection.execute(sa.select(schema.meta.c.version).with_for_update()).scalar_one()
    for number in range(version + 1, schema.SCHEMA_VERSION + 1):
        _STEPS[number](connection)
        connection.execute(schema.meta.update().values(version=number))


# --- version 2: a snapshot in parts, its queue as rows ------------------------------------------------


def _take_snapshots_apart(connection: sa.Connection) -> None:
    schema.queue.create(connection, checkfirst=True)
    for thread_id, text in _snapshots(connection):
        try:
            snapshot, messages = _in_parts(_known(json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError):
            # The snapshot is damaged. Loading its thread raises an error, and the other threads still work.
            continue
        changed = schema.threads.update().where(schema.threads.c.thread_id == thread_id)
        connection.execute(changed.values(snapshot=json.dumps(snapshot)))
        rows = [
            {"thread_id": thread_id, "number": number, "message": json.dumps(message)}
            for number, message in enumerate(messages, 1)
        ]
        if rows:
            connection.execute(schema.SAVE_MESSAGES, rows)


def _snapshots(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Yield each thread's id and snapshot. They are read in pages, because a store may be larger than the memory."""
    columns, last = schema.threads.c, ""
    while True:
        page = sa.select(columns.thread_id, columns.snapshot).where(columns.thread_id > last)
        rows = connection.execute(page.order_by(columns.thread_id).limit(_AT_ONCE)).all()
        yield from ((row.thread_id, row.snapshot) for row in rows)
        if not rows:
            return
        last = rows[-1].thread_id


def _known(old: Doc) -> Doc:
    """Return the snapshot of version 1. Raises `ValueError` if it contains anything that the migration would lose."""
    if old["version"] != 1 or not old.keys() <= _FIELDS_OF_VERSION_1:
        raise ValueError("not a snapshot of version 1")
    return old


def _in_parts(old: Doc) -> tuple[Doc, list[Doc]]:
    """Split a snapshot of version 1 into an equal snapshot of version 2 and the messages of its queue."""
    messages = list(old.get("queue", ()))
    if messages and "message_doubt" in old:
        messages[0] = {**messages[0], "doubt": _doubt(old["message_doubt"])}
    live = old.get("state") in _LIVE
    run = _some(old, id="run_id", handle="run_handle", assistant_id="run_assistant_id", calls="tool_calls")
    run |= _some(old, outputs_accepted="outputs_accepted", stale_polls="repeats", must_cancel="cancelling")
    run |= _some(old, timed_out="timed_out")
    left = {"id": old.get("last_run_id") or "", **_some(old, calls="tool_calls", outputs_accepted="outputs_accepted")}
    pending = _some(old, request="request", sent="sent", tries="tries", failures="failures")
    parts: Doc = {
        "run": run if live else None,
        "left": left if not live and "tool_calls" in old else None,
        "outbox": _some(old, turn="turn", parked="parked") | ({"owed": _owed(old)} if "run_owed" in old else {}),
        "pending": pending if old.get("request") is not None else None,
        "cursor": _some(old, last_message_id="last_message_id", posted_since="posted_since", published="published")
        | _some(old, reading="reading"),
        "server": _some(old, must_check="look", ended_run_ids="ended_run_ids", ended_calls="ended_calls")
        | _some(old, lost_run_id="lost_run_id", message_keys_kept="message_keys_kept", run_keys_kept="run_keys_kept")
        | _newest(old, last_run="last_run_id", last_posted="last_posted_id"),
    }
    kept: Doc = {name: old[name] for name in ("thread_id", "assistant_id", "state") if name in old}
    kept |= {name: part for name, part in parts.items() if part}
    return {"version": 2, **kept}, messages


def _some(old: Doc, **names: str) -> Doc:
    """Return the named fields under their new names. Fields that the snapshot lacks are left out."""
    return {new: old[name] for new, name in names.items() if name in old}


def _newest(old: Doc, **names: str) -> Doc:
    """Return the newest known ids of version 1 as `Newest` objects.

    `names` maps the new names of the fields to the old ones. In version 1, an empty id means that there is no message,
    or no run.
    """
    found = {new: old[name] for new, name in names.items() if old.get(name) is not None}
    return {new: {"asked": True, **({"id": id_} if id_ else {})} for new, id_ in found.items()}


def _owed(old: Doc) -> Doc:
    owed: Doc = {}
    if old.get("state") not in _LIVE:
        if "run_id" in old or "run_handle" in old:
            retry_of = _some(old, run_id="run_id", assistant_id="run_assistant_id", handle="run_handle")
            owed["retry_of"] = {"run_id": "", **retry_of}
        owed |= _some(old, must_cancel="cancelling")
    return owed | ({"doubt": _doubt(old["run_doubt"])} if "run_doubt" in old else {})


def _doubt(old: Doc) -> Doc:
    known = [id_ for id_ in old["known"] if id_]
    return {"searches_left": old["looks"], "known": known, "nothing_before": "" in old["known"]}


_STEPS: dict[int, Callable[[sa.Connection], None]] = {2: _take_snapshots_apart}
