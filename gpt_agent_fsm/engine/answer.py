"""The answer to one message: what `Agent.ask` returns."""

from __future__ import annotations

from typing import Any

import attrs

from gpt_agent_fsm.errors import RunError
from gpt_agent_fsm.events import AssistantMessageAdded, ToolCallRequested
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.tools.output import InvalidOutput, Output

__all__ = ["Answer"]


@attrs.frozen(kw_only=True)
class Answer:
    """The assistant's answer to one message. `str(answer)` is its text.

    Attributes:
        text: the contents of the messages, joined by newlines; "" if there are no messages.
        messages: the messages of the run, in order.
        run_id: the id of the run that answered. If runs were repeated after rate limits, this is the last run.
        usage: the tokens of the run that answered. The fields `cached_tokens` and `reasoning_tokens` are always 0; see
            `Agent.usage`.
        tool_calls: the tool calls of the run that answered, and of the rate limited runs before it, in order.
        thread_id: the id of the thread.
        output: the form that the answer should have; None for text.
    """

    text: str
    messages: tuple[AssistantMessageAdded, ...]
    run_id: str
    usage: Usage
    tool_calls: tuple[ToolCallRequested, ...] = ()
    thread_id: str = attrs.field(default="", repr=False)
    output: Output | None = attrs.field(default=None, repr=False, eq=False)

    def __str__(self) -> str:
        return self.text

    @property
    def value(self) -> Any:  # noqa: ANN401 - the class that was asked for
        """The answer as a Python value of the form `output`. If the answer is text, this is None.

        The last message of the answer contains the value. Raises `RunError` with the code `invalid_output` if that
        message does not have the form. Even then, `text` can be read.
        """
        if self.output is None:
            return None
        last = self.messages[-1] if self.messages else None
        reason: object = "the model has refused to answer"
        if last is None or not last.refusal:
            try:
                return self.output.value("" if last is None else last.content)
            except InvalidOutput as error:
                reason = error
        sentence = f"The answer is not a valid {self.output.name}: {reason}."
        raise RunError("invalid_output", sentence, self.thread_id, self.run_id)
