"""The answer to one message: what `Agent.ask` returns."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.events import AssistantMessageAdded, ToolCallRequested
from gpt_agent_fsm.machine.objects import Usage

__all__ = ["Answer"]


@attrs.frozen(kw_only=True)
class Answer:
    """The assistant's answer to one message. `str(answer)` is its text.

    Attributes:
        text: the contents of the messages, joined by a newline; "" if there are none.
        messages: the messages of the run, in order.
        run_id: the run that answered; the last one, if a rate limited run was started again.
        usage: the tokens of that run.
        tool_calls: the tool calls of the run and of the runs that it replaced, in order.
    """

    text: str
    messages: tuple[AssistantMessageAdded, ...]
    run_id: str
    usage: Usage
    tool_calls: tuple[ToolCallRequested, ...] = ()

    def __str__(self) -> str:
        return self.text
