"""Shows the threads of a store: a row of the list, a record, a text, and pictures.

The commands and the pages of the inspector use these functions, so both say the same. Nothing is changed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import attrs

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.engine.diagnosing import repaired
from gpt_agent_fsm.engine.explaining import explain
from gpt_agent_fsm.engine.history import history_page
from gpt_agent_fsm.engine.protocols import Record, Saved, Store, ThreadRow
from gpt_agent_fsm.machine.reasons import reason_of
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = [
    "NOT_CONNECTED",
    "NOT_HELD",
    "NOT_TAKEN",
    "NO_WORKER",
    "diagram_of_thread",
    "explanation",
    "explanation_in_parts",
    "fields_of",
    "json_value",
    "printable",
    "texts_of",
    "timeline_of_thread",
    "waiting_for",
    "was_pruned",
]

NOT_HELD = "No process holds the store, so nothing happens until a program opens it."
"""Why nothing happens in a store whose threads no process drives."""
NO_WORKER = "No worker of the cluster lives, so nothing happens until one starts: gpt-agent-fsm worker."
"""The same for the threads of a cluster."""
NOT_CONNECTED = "No agent drives the thread, so nothing happens until the program connects to it."
"""Why nothing happens to a thread of a runtime."""
NOT_TAKEN = (
    "No worker has taken this up yet; if this stays, start one: gpt-agent-fsm worker, or a runtime on "
    "Cluster(url, drive=True)."
)
"""Why nothing happens to an accepted command in a cluster."""
_AT_REST = "The thread is at rest."
_RECENT = 200
"""How many of the newest history records are searched for the arrows that the thread has taken in the diagram."""


def waiting_for(row: ThreadRow, *, halted: bool = False) -> str:
    """Return what a thread waits for. The snapshot does not contain the commands that wait to be carried out.

    `halted` is True if nothing drives the thread.
    """
    reason = reason_of(row.snapshot, halted=halted)
    if not row.commands:
        return reason
    waits = "An accepted command waits" if row.commands == 1 else f"{row.commands:,} accepted commands wait"
    return f"{waits} to be carried out." if reason == _AT_REST else f"{waits} to be carried out. {reason}"


def explanation(saved: Saved, settings: Settings, now: float, halt: str = "") -> str:
    """Return the sentences of `explain` about a thread of a store. `halt` says why nothing happens, if this is so."""
    return " ".join(explanation_in_parts(saved, settings, now, halt))


def explanation_in_parts(saved: Saved, settings: Settings, now: float, halt: str = "") -> tuple[str, ...]:
    """Return the sentences of `explanation` in parts, each of which a person can read as a line."""
    return explain(_shown(saved, settings, now, halt), settings, now, saved.due, halt=halt)


def _shown(saved: Saved, settings: Settings, now: float, halt: str) -> Snapshot:
    """Return the snapshot to show. If nothing carries out the accepted commands, they count as carried out."""
    return repaired(saved, (), settings, now).snapshot if halt else saved.snapshot


def was_pruned(records: Sequence[Record], saved: Saved) -> bool:
    """Return whether older records than `records`, the whole history of a thread, were forgotten."""
    return records[0].seq > 1 if records else saved.last_seq > 0


def diagram_of_thread(store: Store, snapshot: Snapshot, last_seq: int) -> diagrams.Diagram:
    """Return the machine with the state of a thread lit, and the arrows that the thread has taken marked.

    `last_seq` is the number of the thread's newest record.
    """
    recent = history_page(store, snapshot.thread_id, max(0, last_seq - _RECENT))
    return diagrams.diagram_of(snapshot.state, [record.event for record in recent])


def timeline_of_thread(
    records: Sequence[Record],
    saved: Saved,
    settings: Settings,
    now: float,
    halt: str = "",
    *,
    was_pruned: bool,
) -> diagrams.Timeline:
    """Return the timeline of a thread of a store. The arguments are as in `explanation` and in `timeline_of`."""
    snapshot = _shown(saved, settings, now, halt)
    return diagrams.timeline_of(records, snapshot.thread_id, was_pruned=was_pruned, snapshot=snapshot, now=now)


# --- texts --------------------------------------------------------------------------------------------


def fields_of(record: Record) -> dict[str, object]:
    """Return a record with its event's fields."""
    return {"seq": record.seq, "at": record.at, "type": type(record.event).__name__, **attrs.asdict(record.event)}


def texts_of(record: Record) -> str:
    """Return the fields of a record's event in one line, without the id of the thread."""
    left_out = ("seq", "at", "type", "thread_id")
    fields = ((name, value) for name, value in fields_of(record).items() if name not in left_out)
    return "  ".join(f"{name}={json.dumps(value, ensure_ascii=False, default=json_value)}" for name, value in fields)


def json_value(value: object) -> object:
    """Return a value that is not a JSON value as one. This is the argument `default` of `json.dumps`."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def printable(text: str) -> str:
    """Return a text without control characters, because a terminal would obey them."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
