"""The times at which a run, or its wait for tool outputs, has taken too long."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import LIVE, State
from gpt_agent_fsm.settings import Settings

__all__ = ["Deadlines"]


class Deadlines:
    """The deadlines of one thread, by the name of their setting. Each counts from when this process saw it begin."""

    __slots__ = ("_clock", "_moments")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: dict[str, float] = {}

    @property
    def moments(self) -> tuple[float, ...]:
        """The times of the deadlines, in monotonic seconds."""
        return tuple(self._moments.values())

    def begin(self, snapshot: Snapshot, settings: Settings) -> None:
        """Start the deadlines of the run in the snapshot, and of its wait for tools, now."""
        self._moments.clear()
        self._count(None, snapshot, settings, self._clock.monotonic())

    def follow(self, before: Snapshot, after: Snapshot, settings: Settings, now: float) -> None:
        """Start the deadlines of a run, or of its wait for tools, that has just begun, at `now`."""
        if after.state not in LIVE or after.run_id != before.run_id:
            self._moments.clear()
        elif after.state is not State.AWAITING_TOOLS:
            self._moments.pop("tool_timeout", None)
        self._count(before, after, settings, now)

    def _count(self, before: Snapshot | None, after: Snapshot, settings: Settings, now: float) -> None:
        went_on = before is not None and before.state in LIVE and before.run_id == after.run_id
        waited = before is not None and before.state is State.AWAITING_TOOLS
        begins = {
            "run_timeout": after.state in LIVE and not went_on,
            "tool_timeout": after.state is State.AWAITING_TOOLS and not waited,
        }
        for setting in (setting for setting, has_begun in begins.items() if has_begun):
            seconds: float | None = getattr(settings, setting)
            if seconds is not None:
                self._moments[setting] = now + seconds

    def passed(self, settings: Settings) -> Iterator[inputs.DeadlinePassed]:
        """Yield an input for each deadline that has passed, once."""
        now = self._clock.monotonic()
        for setting in [setting for setting, moment in self._moments.items() if moment <= now]:
            del self._moments[setting]
            yield inputs.DeadlinePassed(setting=setting, seconds=getattr(settings, setting))
