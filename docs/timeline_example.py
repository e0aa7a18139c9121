"""The example of a timeline on the page of pictures: a conversation of two days. `docs/reference.py` draws it."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import diagrams, events
from gpt_agent_fsm.ports import Record

THREAD = "thread_7Qm2"
RUN = {"thread_id": THREAD, "assistant_id": "asst_1"}
_MONDAY = 1_767_604_500.0  # 2026-01-05 09:15:00 UTC


def _moved(source: str, dest: str, trigger: str = "run_seen") -> events.Event:
    return events.StateChanged(thread_id=THREAD, source=source, dest=dest, trigger=trigger)


def _started(run: str, source: str) -> list[events.Event]:
    return [events.RunStarted(id=run, **RUN), _moved(source, "running", "run_created")]


def _completed(run: str, source: str) -> list[events.Event]:
    done = events.RunCompleted(id=run, prompt_tokens=90, completion_tokens=12, total_tokens=102, **RUN)
    return [done, _moved(source, "idle")]


def _said(message: str) -> list[events.Event]:
    return [events.UserMessageAdded(id=message, thread_id=THREAD, content="not shown")]


def _answered(message: str, run: str) -> list[events.Event]:
    return [events.AssistantMessageAdded(message_id=message, run_id=run, content="not shown", **RUN)]


def _days() -> Iterator[tuple[float, list[events.Event]]]:
    """Yield what happens, and how many seconds after the beginning."""
    call = {"id": "call_1", "thread_id": THREAD, "run_id": "run_1", "name": "book_room"}
    yield 0.0, _said("msg_1")
    yield 0.4, _started("run_1", "idle")
    yield 2.4, [events.ToolCallRequested(arguments={}, **call), _moved("running", "awaiting_tools")]
    yield 2.5, [events.ToolApprovalRequested(arguments={}, **call)]
    yield 9.0, [events.ToolApproved(id="call_1", thread_id=THREAD), events.ToolStarted(attempt=1, **call)]
    yield 10.6, [events.ToolCallOutputRecorded(output="1", **call), _moved("awaiting_tools", "submitting")]
    yield 11.1, [_moved("submitting", "running")]
    yield 13.0, _completed("run_1", "running")
    yield 13.3, _answered("msg_2", "run_1")
    day = 86_400.0
    yield day, _said("msg_3")
    yield day + 0.5, _started("run_2", "idle")
    yield day + 2.0, [events.RateLimited(run_id="run_2", retries_remaining=9, **RUN), _moved("running", "rate_limited")]
    yield day + 10.0, _started("run_3", "rate_limited")
    yield day + 13.0, _completed("run_3", "running")
    yield day + 13.4, _answered("msg_4", "run_3")


def example() -> diagrams.Timeline:
    """Return the timeline of the example."""
    pairs = [(at, event) for at, happened in _days() for event in happened]
    records = [Record(seq=seq, at=_MONDAY + at, event=event) for seq, (at, event) in enumerate(pairs, 1)]
    return diagrams.timeline_of(records)
