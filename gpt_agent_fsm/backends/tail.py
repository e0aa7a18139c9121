"""What the newest items of a conversation tell about its last run, where nobody has kept the id of a response."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from gpt_agent_fsm.backends.responses_wire import Item, answers_of, calls_of
from gpt_agent_fsm.objects import Run, RunStatus, ToolCall

__all__ = ["Tail"]


@attrs.frozen(kw_only=True)
class Tail:
    """The items after the last user message, oldest first.

    Attributes:
        newest_message_id: the newest message of the whole conversation, "" where it has none.
    """

    items: tuple[Item, ...]
    newest_message_id: str

    @classmethod
    def of(cls, newest_first: Sequence[Item]) -> Tail:
        """Return the tail of a conversation, given its newest items."""
        since = next((n for n, item in enumerate(newest_first) if item.is_message and item.role == "user"), None)
        newest = next((item.id for item in newest_first if item.is_message and item.id), "")
        return cls(items=tuple(reversed(newest_first[:since])), newest_message_id=newest)

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls without an output."""
        answered = {item.call_id for item in self.items if item.type == "function_call_output"}
        return tuple(call for call in calls_of(self.items) if call.id not in answered)

    @property
    def has_spoken(self) -> bool:
        """True where the assistant has answered what it was last given: a message, or the outputs of its calls."""
        for item in reversed(self.items):
            if item.type == "function_call_output":
                return False
            if item.type == "function_call" or (item.is_message and item.role == "assistant"):
                return True
        return False

    def to_run(self, run_id: str | None = None, key: str | None = None) -> Run | None:
        """Return the run as it stands by what it left here; None where it left nothing.

        Without a `run_id` it is called by the first item it left. It has no handle, and its usage is not known.
        """
        first = next((item.id for item in self.items if item.id), None)
        run_id = run_id or first
        if run_id is None or first is None:
            return None
        if self.open_calls:
            return Run(id=run_id, status=RunStatus.NEEDS_TOOLS, tool_calls=self.open_calls, key=key)
        return Run(id=run_id, status=RunStatus.COMPLETED, key=key, messages=answers_of(self.items, run_id, None))
