"""The functions that answer tool calls in a life, and the record of what they did.

A function takes virtual time. While a function runs, everything else continues, and the process may be killed. The
record represents the effects of functions outside the process, so it survives every process.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.ports import Record
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import Crash
from gpt_agent_fsm.tools import Tool, ToolContext
from gpt_agent_fsm.tools.function import tool

__all__ = ["CALLS", "NAMES", "WRONG_ARGUMENTS", "Execution", "Functions"]

WRONG_ARGUMENTS = '{"x":"no number"}'
_TIMES = (0.0, 0.0, 0.5, 4.0, 40.0)
_TIMEOUT = 2.0
_SAFE = ("again", "brief_again")
_KINDS: dict[str, dict[str, Any]] = {
    "once": {},
    "again": {"retry": "safe"},
    "brief": {"timeout": _TIMEOUT},
    "brief_again": {"timeout": _TIMEOUT, "retry": "safe"},
    "fails": {},
    "asked": {"approve": True},
}
_RULED = "ruled"
"""The name of the function that has an approval rule. The rule decides about each call of the function."""
NAMES = frozenset([*_KINDS, _RULED])
CALLS = (*((name, '{"x":1}') for name in sorted(NAMES)), ("once", WRONG_ARGUMENTS), ("asked", WRONG_ARGUMENTS))
"""A call of each function, and two calls with arguments that their functions do not take."""


@attrs.frozen(kw_only=True)
class Execution:
    """One execution of a function that answers a tool call.

    Attributes:
        number: the number of the execution. The function returns this number.
        is_allowed: True if the function needed no approval, or if a rule or a person had approved the call before.
    """

    thread_id: str
    call_id: str
    name: str
    attempt: int
    number: int = 0
    is_allowed: bool = True

    @property
    def is_safe(self) -> bool:
        """True if the function is declared safe, so that it may run again."""
        return self.name in _SAFE


class Functions:
    """The functions of one life, over all of its processes.

    Args:
        rng: the random numbers that decide how long each execution takes, and whether the process is killed during it.
        kills: the probability that the process is killed during an execution.
        history: a function that returns the history of a thread.
        on_begin: a function that is called when an execution has begun.

    Attributes:
        executions: all executions, in order.
        verdicts: the approval rule's decision about each call of the function `ruled`, by the call's id.
        faults_off: True if the process must no longer be killed.
    """

    def __init__(
        self,
        scheduler: VirtualScheduler,
        rng: random.Random,
        kills: float,
        history: Callable[[str], Sequence[Record]],
        on_begin: Callable[[], object] = lambda: None,
    ) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._kills = kills
        self._history = history
        self._on_begin = on_begin
        self.executions: list[Execution] = []
        self.verdicts: dict[str, bool | None] = {}
        self.faults_off = False

    @functools.cached_property
    def tools(self) -> list[Tool[..., Any]]:
        """The functions as the tools of a runtime. They are made at the first use, because making them takes long."""
        kinds = {**_KINDS, _RULED: {"approve": self._rule}}
        return [self._tool(name, how) for name, how in kinds.items()]

    def _tool(self, name: str, how: dict[str, Any]) -> Tool[..., Any]:
        def function(context: ToolContext, x: int) -> dict[str, int]:
            del x
            return self._execute(name, context)

        return tool(name=name, **how)(function)

    def _execute(self, name: str, context: ToolContext) -> dict[str, int]:
        number = len(self.executions)
        self.executions.append(
            Execution(
                thread_id=context.thread_id,
                call_id=context.call_id,
                name=name,
                attempt=context.attempt,
                number=number,
                is_allowed=self._is_allowed(name, context),
            )
        )
        self._on_begin()
        kill = not self.faults_off and self._rng.random() < self._kills
        # Everything else continues while the function works.
        self._scheduler.advance(self._rng.choice(_TIMES))
        if kill:
            raise Crash
        if name == "fails":
            raise ValueError("the function has failed")
        return {"execution": number}

    def _is_allowed(self, name: str, context: ToolContext) -> bool:
        if name not in ("asked", _RULED) or self.verdicts.get(context.call_id):
            return True
        happened = (record.event for record in self._history(context.thread_id))
        return any(isinstance(event, events.ToolApproved) and event.id == context.call_id for event in happened)

    def _rule(self, call: events.ToolCallRequested) -> bool | None:
        """Decide about a call as an approval rule does: start it, deny it, ask a person, or raise an error.

        The decision about one call never changes.
        """
        kind = zlib.crc32(call.id.encode()) % 4
        if kind == 3:
            raise ValueError("the rule has failed")
        self.verdicts[call.id] = verdict = (True, False, None)[kind]
        return verdict
