"""The information about a tool call that the function of the tool can get."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["ToolContext"]


def _question(value: threading.Event | Callable[[], bool]) -> Callable[[], bool]:
    return value.is_set if isinstance(value, threading.Event) else value


def _never() -> bool:
    return False


@attrs.frozen(kw_only=True)
class ToolContext:
    """The tool call that a function answers.

    If a parameter of the function has this annotation, the function gets this object as its argument. The model does
    not see the parameter.

    Attributes:
        agent: the `Agent` of the conversation.
        thread_id: the id of the conversation.
        run_id: the id of the run that asked for the call.
        call_id: the id of the call. If the call is repeated after a crash, the id is the same. So it can be the
            idempotency key of an effect.
        attempt: the number of the attempt, from 1. It is 2 or more if the call is repeated after a crash.
    """

    agent: Any  # an `Agent`; this package must not import that class
    thread_id: str
    run_id: str
    call_id: str
    attempt: int = 1
    _cancelled: Callable[[], bool] = attrs.field(default=_never, converter=_question, repr=False)

    def cancelled(self) -> bool:
        """Return whether the output is no longer wanted, because the run has ended or the tool has timed out."""
        return self._cancelled()
