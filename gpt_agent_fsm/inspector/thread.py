"""The page of one thread: its state, its pictures, its history, and the buttons that may be pressed now."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence

import attrs

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.engine.explaining import changes_something
from gpt_agent_fsm.engine.history import history_page
from gpt_agent_fsm.engine.showing import (
    diagram_of_thread,
    explanation,
    fields_of,
    json_value,
    printable,
    texts_of,
    timeline_of_thread,
)
from gpt_agent_fsm.engine.times import moment
from gpt_agent_fsm.errors import AgentNotAlive
from gpt_agent_fsm.events import ToolApprovalRequested
from gpt_agent_fsm.inspector.source import Source
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.waits import open_approvals
from gpt_agent_fsm.ports import Record, Saved

__all__ = ["PER_PAGE", "Approval", "Entry", "ThreadPage", "thread_page"]

PER_PAGE = 50
_LONGEST = 160
"""The number of letters of an event's fields that are shown in one line."""
_TIMELINE = 300
"""How many of the newest records a timeline is made from. It shows fewer; the others say how it begins."""


@attrs.frozen
class Entry:
    """A record of the history: its fields in one line, and as JSON."""

    seq: int
    at: str
    type: str
    fields: str
    json: str


@attrs.frozen
class Approval:
    """A tool call that waits for a decision."""

    call_id: str
    name: str
    arguments: str


@attrs.frozen
class ThreadPage:
    """The contents of the page.

    Attributes:
        facts: names and values, for example the id of the run.
        machine, timeline: the pictures, as SVG.
        entries: a page of the history. The newest record is the first.
        older, newer: the number before which the next page of the history begins; None if there is no such page.
        pruned: True if this page would contain records that the store has forgotten.
        can_command: True if commands can be given to the thread.
        may_cancel, may_discard: True if the command would change something now.
    """

    thread_id: str
    name: str
    state: str
    facts: Sequence[tuple[str, str]]
    explanation: str
    machine: str
    timeline: str
    entries: Sequence[Entry]
    older: int | None
    newer: int | None
    pruned: bool
    can_command: bool
    may_cancel: bool
    may_discard: bool
    approvals: Sequence[Approval]


def thread_page(source: Source, thread_id: str, before: int | None) -> ThreadPage | None:
    """Return the page of a thread, with the newest records below the number `before`. Return None if it is unknown."""
    saved = source.store.load(thread_id)
    if saved is None:
        return None
    agent, snapshot = source.agent(thread_id), saved.snapshot
    end = saved.last_seq + 1 if before is None else min(max(before, 1), saved.last_seq + 1)
    first = max(1, end - PER_PAGE)
    records = history_page(source.store, thread_id, first - 1, end - first) if end > first else ()
    return ThreadPage(
        thread_id,
        printable(thread_id),
        snapshot.state,
        _facts(saved),
        printable(_explanation(source, saved, agent)),
        _machine(source, saved),
        _timeline(source, saved),
        [_entry(record) for record in reversed(records)],
        older=first if first > 1 and len(records) == end - first else None,
        newer=None if end > saved.last_seq else min(end + PER_PAGE, saved.last_seq + 1),
        pruned=len(records) < end - first,
        can_command=(can_command := source.takes_commands(thread_id)),
        may_cancel=changes_something(snapshot, inputs.CancelRun(), source.settings),
        may_discard=changes_something(snapshot, inputs.DiscardQueue(), source.settings),
        approvals=[_approval(call) for call in _open_approvals(saved)] if can_command else [],
    )


def _facts(saved: Saved) -> list[tuple[str, str]]:
    snapshot = saved.snapshot
    facts = [
        ("waiting since", "" if snapshot.waiting is None else moment(snapshot.waiting.since)),
        ("run", snapshot.run_id or ""),
        ("assistant", snapshot.assistant_id),
        ("last message", snapshot.cursor.last_message_id or ""),
        ("queued messages", f"{len(snapshot.queue):,}" if snapshot.queue else ""),
        ("commands to carry out", f"{len(saved.inbox):,}" if saved.inbox else ""),
    ]
    facts += [(name.replace("_", " "), f"{count:,}") for name, count in attrs.asdict(snapshot.usage).items()]
    return [(name, printable(value)) for name, value in facts if value]


def _explanation(source: Source, saved: Saved, agent: Agent | None) -> str:
    with contextlib.suppress(AgentNotAlive):
        if agent is not None:
            return agent.explain()
    return explanation(saved, source.settings, time.time(), source.halt(saved))


def _open_approvals(saved: Saved) -> Sequence[ToolApprovalRequested]:
    return open_approvals(saved.snapshot, [command for _, command in saved.inbox])


def _machine(source: Source, saved: Saved) -> str:
    return diagrams.svg(diagram_of_thread(source.store, saved.snapshot, saved.last_seq), styled=False)


def _timeline(source: Source, saved: Saved) -> str:
    thread_id = saved.snapshot.thread_id
    records = history_page(source.store, thread_id, 0, _TIMELINE, newest=True)
    pruned, halt = len(records) < min(saved.last_seq, _TIMELINE), source.halt(saved)
    shown = timeline_of_thread(records, saved, source.settings, time.time(), halt, was_pruned=pruned)
    return diagrams.timeline_svg(shown, styled=False)


def _entry(record: Record) -> Entry:
    fields = texts_of(record)
    line = printable(fields if len(fields) <= _LONGEST else f"{fields[:_LONGEST]}…")
    return Entry(record.seq, moment(record.at), type(record.event).__name__, line, _json(fields_of(record)))


def _approval(call: ToolApprovalRequested) -> Approval:
    return Approval(call.id, printable(call.name), _json(call.arguments))


def _json(value: object) -> str:
    """Return a value as lines of JSON. Letters that would hide or reorder others are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=json_value)
    return "\n".join(map(printable, text.split("\n")))
