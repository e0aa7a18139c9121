"""Notices when a run, its wait for tool outputs, or any other wait has taken too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot, Waiting
from gpt_agent_fsm.machine.states import LIVE, State
from gpt_agent_fsm.machine.waits import asking_calls, only_a_person_is_waited_for
from gpt_agent_fsm.settings import Settings

__all__ = ["Deadlines"]


_PAUSED = (State.AWAITING_TOOLS, State.SUBMITTING)
_Asked: TypeAlias = tuple[str, float]
"""The id of a call, and when its approval was requested, in seconds since the epoch."""
_NO_CALLS: Mapping[_Asked, float] = {}
_NONE: Mapping[str, float] = {}
"""Shared by all threads, because most of them are idle, and an empty dict takes 64 bytes."""


class Deadlines:
    """The deadlines of one thread. Each deadline has the name of its setting.

    `run_timeout` counts from the moment at which this process first saw the run. `tool_timeout` counts from the moment
    at which this process first saw the run wait for tool outputs. The other two deadlines also count time in which
    another process drove the thread: `stall_after` counts from the start of the wait, and `approval_timeout` counts
    from the request for the approval.
    """

    __slots__ = ("_asking", "_clock", "_moments", "_run_since", "_tool_time_left", "_waits_since")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: Mapping[str, float] = _NONE
        """The deadlines that run, and when each ends, in monotonic seconds. Replaced, never changed."""
        self._tool_time_left: float | None = None
        """The seconds left of `tool_timeout` while the thread waits only for a person; None at other times."""
        self._asking: Mapping[_Asked, float] = _NO_CALLS
        """For each call that waits for an approval: when the approval was requested, in monotonic seconds. The time of
        day is looked at only once, because somebody may set the clock."""
        self._run_since = 0.0
        """When this process first saw the run in progress, or last sent it outputs, in monotonic seconds."""
        self._waits_since = 0.0
        """When the current wait began, in monotonic seconds."""

    @property
    def moments(self) -> tuple[float, ...]:
        """The times of the deadlines, in monotonic seconds."""
        return tuple(self._moments.values())

    @property
    def age_of_run(self) -> float:
        """The seconds since this process first saw the run in progress, or last sent it tool outputs."""
        return self._clock.monotonic() - self._run_since

    def begin(self, snapshot: Snapshot, settings: Settings) -> None:
        """Start all deadlines. `run_timeout` and `tool_timeout` count from now."""
        now, waiting = self._clock.monotonic(), snapshot.waiting
        self._moments = _NONE
        self._count(None, snapshot, settings, now)
        # The clock may have been set back since the wait began.
        self._waits_since = now if waiting is None else now - max(self._clock.time() - waiting.since, 0.0)
        self._watch(waiting, settings)
        self._follow_approvals(snapshot, settings, now)

    def follow(self, before: Snapshot, after: Snapshot, settings: Settings, now: float) -> None:
        """Update the deadlines after a change of the snapshot.

        If a run, or its wait for tools, has just begun, its deadline counts from `now`.
        """
        if after.waiting is not before.waiting and after.waiting != before.waiting:
            if before.waiting is None or after.waiting is None or before.waiting.since != after.waiting.since:
                self._waits_since = now
            self._watch(after.waiting, settings)
        if after.run is before.run and after.state is before.state is State.RUNNING:
            return  # between two polls
        if after.state not in LIVE or after.run_id != before.run_id:
            self._end("run_timeout")
            self._end("tool_timeout")
        elif after.state is not State.AWAITING_TOOLS:
            self._end("tool_timeout")
        self._count(before, after, settings, now)
        if after.calls or before.calls:
            self._follow_approvals(after, settings, now)

    def _follow_approvals(self, snapshot: Snapshot, settings: Settings, now: float) -> None:
        """Let `approval_timeout` count from the oldest open request for an approval.

        Pause `tool_timeout` while the run waits only for approvals.
        """
        # Only calls of a run that waits for outputs have this deadline. A decision about other calls would be ignored.
        known, time, limit = self._asking, self._clock.time(), settings.approval_timeout
        asked = ((call.id, call.asked_at or 0.0) for call in asking_calls(snapshot))
        self._asking = {call: known.get(call, now - max(time - call[1], 0.0)) for call in asked} or _NO_CALLS
        if self._asking and limit is not None:
            self._set("approval_timeout", min(self._asking.values()) + limit)
        else:
            self._end("approval_timeout")
        stands_still = only_a_person_is_waited_for(snapshot)
        if stands_still and "tool_timeout" in self._moments:
            self._tool_time_left = self._moments["tool_timeout"] - now
            self._end("tool_timeout")
        elif not stands_still and self._tool_time_left is not None:
            if snapshot.state is State.AWAITING_TOOLS:
                self._set("tool_timeout", now + self._tool_time_left)
            self._tool_time_left = None

    def _watch(self, waiting: Waiting | None, settings: Settings) -> None:
        """Set the time at which the current wait is next announced, because it has lasted too long."""
        if waiting is None or settings.stall_after is None:
            self._end("stall_after")
        else:
            self._set("stall_after", self._waits_since + settings.stall_after * 2.0**waiting.told)

    def _set(self, setting: str, moment: float) -> None:
        self._moments = {**self._moments, setting: moment}

    def _end(self, setting: str) -> None:
        if setting in self._moments:
            self._moments = {name: moment for name, moment in self._moments.items() if name != setting} or _NONE

    def _count(self, before: Snapshot | None, after: Snapshot, settings: Settings, now: float) -> None:
        went_on = before is not None and before.state in LIVE and before.run_id == after.run_id
        waited = before is not None and before.state is State.AWAITING_TOOLS
        begins = {
            "run_timeout": after.state in LIVE and not went_on,
            "tool_timeout": after.state is State.AWAITING_TOOLS and not waited,
        }
        if begins["run_timeout"] or (after.state is State.RUNNING and before is not None and before.state in _PAUSED):
            self._run_since = now
        for setting in (setting for setting, has_begun in begins.items() if has_begun):
            seconds: float | None = getattr(settings, setting)
            if seconds is not None:
                self._set(setting, now + seconds)

    def passed(self, settings: Settings, due: float | None) -> Iterator[inputs.Input]:
        """Yield one input for each deadline that has passed.

        `due` is the time of the next step in monotonic seconds, or None.
        """
        now = self._clock.monotonic()
        for setting in [setting for setting, moment in self._moments.items() if moment <= now]:
            self._end(setting)
            if setting == "stall_after":
                next_look = None if due is None else self._clock.time() + due - now
                yield inputs.StillWaiting(seconds=now - self._waits_since, next_look=next_look)
            elif setting == "approval_timeout":
                yield from self._expired(settings.approval_timeout or 0.0, now)
            else:
                yield inputs.DeadlinePassed(setting=setting, seconds=getattr(settings, setting))

    def _expired(self, limit: float, now: float) -> Iterator[inputs.DenyToolCall]:
        """Yield a denial for each call about which nobody has decided within `limit` seconds."""
        first = min(self._asking.values(), default=0.0)
        for (call_id, _), asked in self._asking.items():
            if asked <= max(first, now - limit):
                yield inputs.DenyToolCall(tool_call_id=call_id, reason=f"nobody decided within {limit:g} seconds")
