"""Calls the trace hooks of one runtime: functions with which a program measures the library.

`docs/telemetry.md` lists what a hook is called with. Code that calls the hooks first checks `Trace.hooks`. So without a
hook, nothing is measured, built or called.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import attrs

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.logs import Log, get_logger, must_propagate
from gpt_agent_fsm.signals import name_of

__all__ = ["Hook", "Trace"]

log: Log = get_logger(__name__)

Hook: TypeAlias = Callable[[str, Mapping[str, Any]], object]
"""A function that is called as `hook(name, info)`."""


@attrs.define(eq=False)
class _Guarded:
    """A hook whose errors harm nothing.

    Attributes:
        failed: the names for which the hook has failed. Each is logged once, because a hook is called very often.
    """

    hook: Hook
    failed: set[str] = attrs.field(factory=set)

    def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        try:
            self.hook(name, info)
        except BaseException as error:
            if must_propagate(error):
                raise
            if name not in self.failed:
                self.failed.add(name)
                once = "the trace hook %s failed on %s; if it fails on %s again, this is not logged"
                log.exception(once, name_of(self.hook), name, name)


class Trace:
    """The trace hooks of one runtime. Safe to use from any OS thread.

    Attributes:
        clock: the clock of the runtime, by which all times are measured.
        hooks: the hooks, in the order in which they were added; empty if nobody measures.
    """

    __slots__ = ("_lock", "clock", "hooks")

    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock
        # Reentrant: the handler of an operating system signal may interrupt `add`, and remove a hook.
        self._lock = threading.RLock()
        self.hooks: tuple[_Guarded, ...] = ()

    def add(self, hook: Hook) -> Callable[[], None]:
        """Call this hook from now on. Return a function that removes the hook again."""
        added = _Guarded(hook)
        with self._lock:
            self.hooks = (*self.hooks, added)

        def remove() -> None:
            with self._lock:
                self.hooks = tuple(each for each in self.hooks if each is not added)

        return remove

    def __call__(self, name: str, **info: Any) -> None:  # noqa: ANN401 - ids, numbers and short codes
        """Call each hook."""
        _call(self.hooks, name, info)

    def ended(self, name: str, since: float, **info: Any) -> None:  # noqa: ANN401 - ids, numbers and short codes
        """Call each hook about something that began at `since`, in monotonic seconds. Add the seconds that it took."""
        _call(self.hooks, name, {**info, "seconds": self._seconds_since(since)})

    @contextlib.contextmanager
    def of_tool(self, **call: str) -> Iterator[None]:
        """Call each hook before and after the function of a tool, which runs in the `with` block.

        A hook that was called before the function is also called after it, even if it was removed in between.
        """
        hooks, since, outcome = self.hooks, self.clock.monotonic(), "ok"
        _call(hooks, "tool_started", call)
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            _call(hooks, "tool_ended", {**call, "outcome": outcome, "seconds": self._seconds_since(since)})

    def _seconds_since(self, since: float) -> float:
        # What is measured has already happened, so an error of the clock must not be raised.
        with contextlib.suppress(Exception):
            return max(0.0, self.clock.monotonic() - since)
        return 0.0


def _call(hooks: tuple[_Guarded, ...], name: str, info: dict[str, Any]) -> None:
    for hook in hooks:
        hook(name, MappingProxyType(info))
