"""The facts about one call that a tool may ask for."""

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
    """The call that a tool answers. A parameter of a tool with this annotation gets it; the model does not see it.

    Attributes:
        agent: the `Agent` of the conversation.
        thread_id: the id of the conversation.
        run_id: the id of the run that asked for the call.
        call_id: the id of the call. It stays the same when the call is repeated after a crash, so use it as the key
            that makes an effect repeatable.
        attempt: 1, and 2 or more if the call is repeated after a crash.
    """

    agent: Any  # an `Agent`, which stands above this room
    thread_id: str
    run_id: str
    call_id: str
    attempt: int = 1
    _cancelled: Callable[[], bool] = attrs.field(default=_never, converter=_question, repr=False)

    def cancelled(self) -> bool:
        """Return whether the output is no longer wanted, because the run has ended or the tool's time is over."""
        return self._cancelled()
