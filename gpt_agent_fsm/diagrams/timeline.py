"""What a timeline shows, apart from its format: bars on lanes, made from the records of a thread.

A timeline contains names of states and tools, codes, ids and times. It never contains the text of a message, the
arguments or the output of a tool, or the name of a person, so that it can be shown to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from gpt_agent_fsm import events as e
from gpt_agent_fsm.diagrams.timeline_wait import RATE_LIMIT, Wait, wait_of
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State

__all__ = ["LANES", "Bar", "Recorded", "Timeline", "timeline_of"]

LANES = ("messages", "state", "runs", "tool calls", "approvals", "waits")
MAX_RECORDS = 200
"""The maximum number of records that a timeline shows. If the history is longer, the newest records are shown."""
_MAX_NAME = 40

_GOOD, _BAD, _BUSY, _WAIT, _PLAIN, _TOOL = (
    State.SUBMITTING,
    State.FAILED,
    State.RUNNING,
    State.RATE_LIMITED,
    State.IDLE,
    State.AWAITING_TOOLS,
)
"""The states whose colours are used for bars: for a success, a failure, work, a wait, a message and a tool call."""


class Recorded(Protocol):
    """A record of a thread's history; see `gpt_agent_fsm.ports.Record`."""

    @property
    def at(self) -> float:
        """The time at which the event was saved, in seconds since the epoch."""

    @property
    def event(self) -> e.Event:
        """The event."""


@attrs.frozen
class Bar:
    """A period, or a single moment if `start` and `end` are equal.

    Attributes:
        colour: the state whose colour the bar has.
        name: the name of the bar, without line breaks and other characters that cannot be printed.
        is_open: True if the period had not ended at the end of the timeline.
    """

    lane: str
    name: str
    colour: State
    start: float
    end: float
    is_open: bool = False


@attrs.frozen
class Timeline:
    """The bars of a thread.

    Attributes:
        start, end: the times of the first and the last record that is shown; 0 if there are no records. If the thread
            is not at rest, `end` is now.
        bars: the bars, in the order in which they began.
        times: the times of the records, and of the wait until now, in order. Each time occurs once. Empty if there are
            no records and no wait.
        left_out: the number of older records that are not shown.
        was_pruned: True if the store has forgotten older records.
        lasts: True if the thread is not at rest, so that the timeline ends now.
    """

    thread_id: str
    start: float
    end: float
    bars: tuple[Bar, ...]
    times: tuple[float, ...]
    left_out: int = 0
    was_pruned: bool = False
    lasts: bool = False


def timeline_of(
    records: Sequence[Recorded],
    thread_id: str | None = None,
    *,
    was_pruned: bool = False,
    snapshot: Snapshot | None = None,
    now: float | None = None,
) -> Timeline:
    """Return the timeline of a thread's records. The default for `thread_id` is the id in the records.

    `was_pruned` is True if the store has forgotten older records; the timeline says so. With the thread's `snapshot`
    and the time `now`, in seconds since the epoch, the timeline of a thread that is not at rest continues to now, and
    shows what the thread waits for.
    """
    name = thread_id or next((record.event.thread_id for record in records), "a thread")
    shown = records[-MAX_RECORDS:]
    # A clock may have been set back between two records.
    times = sorted({record.at for record in shown})
    reader = _Reader()
    for record in records:
        reader.read(record.at, record.event)
    wait = None if snapshot is None or now is None else wait_of(snapshot)
    if wait is not None and now is not None:
        times = _times_until(now, times, wait)
        reader.wait(wait, times)
    start, end = (times[0], times[-1]) if times else (0.0, 0.0)
    bars = [_clipped(bar, start, end) for bar in reader.all_bars(end) if bar.end >= start]
    bars.sort(key=lambda bar: bar.start)
    left_out = len(records) - len(shown)
    return Timeline(_clean(name), start, end, tuple(bars), tuple(times), left_out, was_pruned, wait is not None)


def _times_until(now: float, times: Sequence[float], wait: Wait) -> list[float]:
    """Return the times of a timeline until `now`. A wait that began before the first record adds no time."""
    since = [wait.since] if wait.since is not None and times and times[0] < wait.since < now else []
    return sorted({*times, *since, max([now, *times[-1:]])})


def _clipped(bar: Bar, start: float, end: float) -> Bar:
    left = min(max(bar.start, start), end)
    return attrs.evolve(bar, start=left, end=min(max(bar.end, left), end))


def _clean(name: str) -> str:
    """Return a name from the server as short text without characters that cannot be printed."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"


class _Reader:
    """Reads the records one after the other, and keeps the bars that have not ended."""

    def __init__(self) -> None:
        self._ended: list[Bar] = []
        self._open: dict[tuple[str, str], Bar] = {}
        self._first: float | None = None
        self._has_moved = False

    def all_bars(self, end: float) -> list[Bar]:
        """Return all bars. A bar that has not ended is drawn up to `end`."""
        return [*self._ended, *(attrs.evolve(bar, end=end, is_open=True) for bar in self._open.values())]

    def read(self, at: float, event: e.Event) -> None:
        """Read the event of a record."""
        if not isinstance(event, e.RequestFailed | e.ThreadStalled):
            # Every other event ends the waits before it, except a wait for a rate limit.
            for key in [key for key in self._open if key[0] == "waits" and key[1] != "rate limit"]:
                self._end(*key, at)
        self._messages(at, event)
        self._states(at, event)
        self._runs(at, event)
        self._tools(at, event)
        self._waits(at, event)

    def _messages(self, at: float, event: e.Event) -> None:
        match event:
            case e.UserMessageAdded():
                self._mark("messages", f"user {event.id}", _PLAIN, at)
            case e.AssistantMessageAdded():
                self._mark("messages", f"assistant {event.message_id}", _BUSY, at)
            case e.MessagesDiscarded():
                self._mark("messages", f"{len(event.keys)} discarded", _BAD, at)

    def _states(self, at: float, event: e.Event) -> None:
        self._first = at if self._first is None else self._first
        if isinstance(event, e.StateChanged):
            if not self._has_moved and event.source in list(State):
                self._begin("state", "", event.source, State(event.source), self._first)
            self._has_moved = True
            self._end("state", "", at)
            if event.dest in list(State):
                self._begin("state", "", event.dest, State(event.dest), at)

    def _runs(self, at: float, event: e.Event) -> None:
        match event:
            case e.RunStarted():
                self._begin("runs", event.id, event.id, _BUSY, at)
            case e.StateChanged(dest=State.RUNNING, source=State.IDLE | State.FAILED, trigger="runs_listed"):
                # A run that was found has no event `RunStarted`. The next event of the run contains the run's id.
                self._begin("runs", "found", "a run that was found", _BUSY, at)
            case e.RunCompleted():
                self._end_run(event.id, "completed", _GOOD, at)
            case e.RunFailed():
                self._end_run(event.id or "", f"failed: {event.code}", _BAD, at)
            case e.RateLimited():
                self._end_run(event.run_id, "rate limited", _WAIT, at)
            case e.RateLimitRetriesExhausted():
                self._mark("runs", "no retries left", _BAD, at)
            case e.OrganizationQuotaExceeded():
                self._mark("runs", "out of quota", _BAD, at)
            case e.BudgetExceeded():
                self._mark("runs", f"{event.used} of {event.limit} tokens used", _BAD, at)

    def _end_run(self, run_id: str, outcome: str, colour: State, at: float) -> None:
        """End a run, and the calls that still waited for an output or a decision."""
        key = run_id if ("runs", run_id) in self._open else "found"
        name = f"{run_id or 'no run'} {outcome}"
        if ("runs", key) not in self._open:
            self._begin("runs", key, name, colour, at)
        self._end("runs", key, at, name, colour)
        for lane, call in [each for each in self._open if each[0] in ("tool calls", "approvals")]:
            self._end(lane, call, at, f"{self._open[lane, call].name} (run ended)", _BAD)

    def _tools(self, at: float, event: e.Event) -> None:
        match event:
            case e.ToolCallRequested():
                self._begin("tool calls", event.id, event.name, _TOOL, at)
            case e.ToolCallOutputRecorded():
                self._end("tool calls", event.id, at)
            case e.ToolOutcomeUnknown():
                self._end("tool calls", event.id, at, f"{event.name} (outcome unknown)", _BAD)
            case e.ToolCallOutputSubmissionFailed():
                self._mark("tool calls", "outputs not accepted", _BAD, at)
            case e.HostedToolUsed():
                self._mark("tool calls", event.kind, _TOOL, at)
            case e.ToolApprovalRequested():
                self._begin("approvals", event.id, event.name, _WAIT, at)
            case e.ToolApproved():
                self._decide(event.id, "approved", _GOOD, at)
            case e.ToolDenied():
                self._decide(event.id, "denied", _BAD, at)

    def _decide(self, call_id: str, decision: str, colour: State, at: float) -> None:
        bar = self._open.get(("approvals", call_id))
        if bar is None:
            self._mark("approvals", decision, colour, at)
        else:
            self._end("approvals", call_id, at, f"{bar.name} {decision}", colour)

    def _waits(self, at: float, event: e.Event) -> None:
        match event:
            case e.StateChanged(dest=State.RATE_LIMITED):
                self._begin("waits", RATE_LIMIT, RATE_LIMIT, _WAIT, at)
            case e.StateChanged(source=State.RATE_LIMITED):
                self._end("waits", RATE_LIMIT, at)
            case e.RequestFailed(will_retry=True):
                self._begin("waits", event.operation, f"retry of {event.operation}", _WAIT, at)
            case e.RequestFailed():
                self._mark("waits", f"{event.operation} failed", _BAD, at)
            case e.ThreadStalled():
                self._begin("waits", "stalled", "stalled", _BAD, event.since)

    def wait(self, wait: Wait, times: Sequence[float]) -> None:
        """Add a wait that has not ended, and the number of queued messages, to the bars. `times[-1]` is now."""
        since = times[-2:][0] if wait.since is None else wait.since
        self._begin("waits", wait.name, wait.name, _BAD if wait.needs_person else _WAIT, since)
        if wait.queued:
            self._mark("messages", f"{wait.queued:,} queued", _WAIT, times[-1])

    def _begin(self, lane: str, key: str, name: str, colour: State, at: float) -> None:
        """Begin a bar, unless it has begun before."""
        self._open.setdefault((lane, key), Bar(lane, _clean(name), colour, at, at))

    def _end(self, lane: str, key: str, at: float, name: str | None = None, colour: State | None = None) -> None:
        """End a bar, if it has begun. `name` and `colour`, if given, replace the bar's name and colour."""
        bar = self._open.pop((lane, key), None)
        if bar is not None:
            name = bar.name if name is None else _clean(name)
            self._ended.append(attrs.evolve(bar, name=name, colour=colour or bar.colour, end=max(at, bar.start)))

    def _mark(self, lane: str, name: str, colour: State, at: float) -> None:
        self._ended.append(Bar(lane, _clean(name), colour, at, at))
