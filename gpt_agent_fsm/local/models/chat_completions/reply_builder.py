"""Builds replies from the answers of a chat-completions server. An answer may have any form, and may come in pieces."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gpt_agent_fsm.local.models.chat_completions.contents import has_unread, said_in
from gpt_agent_fsm.local.models.chat_completions.endings import Ending
from gpt_agent_fsm.local.models.chat_completions.json_values import (
    choices_of,
    count_of,
    items_of,
    mapping,
    text_of,
    whole,
)
from gpt_agent_fsm.local.models.chat_completions.repetition import Unrepeated
from gpt_agent_fsm.local.models.chat_completions.thinking import Thinking
from gpt_agent_fsm.local.models.chat_completions.tool_calls import CallBuilder
from gpt_agent_fsm.local.models.protocol import Reply, Usage
from gpt_agent_fsm.local.models.surrogates import SurrogateJoiner
from gpt_agent_fsm.local.models.tokens import is_count

__all__ = ["ReplyBuilder"]


class ReplyBuilder:
    """Builds a reply from one whole answer, or from the pieces of a stream.

    `tools` are the names of the tools that the model may call. If `patient` is True, text that may be reasoning is held
    back; see `Thinking`.

    The module `contents` reads text in any form, `repetition` removes repeated text, `thinking` removes reasoning,
    `tool_calls` puts calls together, and `endings` finds the end of the answer. If a server sends several alternative
    answers, only the first answer is used.
    """

    def __init__(self, tools: Collection[str] = (), *, patient: bool = False) -> None:
        self.begun: bool = False
        self.has_deltas: bool = False
        self._is_whole = False
        self._has_unread = False
        self._ending = Ending()
        self._unrepeated = Unrepeated()
        self._characters = SurrogateJoiner()
        self._thinking = Thinking(patient=patient)
        self._shown: list[str] = []
        self._calls = CallBuilder(tools)
        self._index: str | None = None
        self._others: list[dict[str, Any]] = []
        self._usage: Usage | None = None

    @property
    def is_certain(self) -> bool:
        """True if the answer is known to be complete."""
        return self._ending.is_certain or self._is_whole

    @property
    def has_end(self) -> bool:
        """True if the answer has a reason for its end, or is a whole answer."""
        return bool(self._ending.reason) or self._is_whole

    @property
    def problem(self) -> str:
        """The reason why a complete answer cannot be used. "" if it can be used."""
        if not self.begun:
            return "it has no choices"
        if any(self._shown) or self._calls.calls() or self._ending.incomplete:
            return ""
        if self._ending.promises_calls:
            return f"it has the finish reason '{self._ending.reason}', but no tool call"
        return "its content has an unknown form" if self._has_unread else ""

    def add(self, answer: dict[str, Any]) -> str:
        """Add a whole answer or a piece of an answer. Return the new text that can be passed on now."""
        choices = choices_of(answer)
        self.begun = self.begun or bool(choices)
        self._is_whole = self._is_whole or bool(choices and answer.get("object") == "chat.completion")
        for holder in (answer, mapping(answer.get("x_groq"))):
            self._add_usage(holder)
        return self._show("".join(map(self._read, self._ours(choices))))

    def finish(self) -> str:
        """Return the text that was held back, because it might have been reasoning, a repetition or a second answer.

        Call it when the answer has ended.
        """
        # If no piece has a finish reason, there was only one answer, and the indexes number its pieces.
        others = "" if self._ending.reason else "".join(map(self._read, self._others))
        shown = self._show(others + self._unrepeated.rest())
        rest = self._thinking.add(whole(self._characters.rest()))
        # Reasoning without an end is the answer only if there is nothing else.
        has_else = bool(self._ending.incomplete or self._calls.calls())
        rest += self._thinking.rest(drop_open=has_else)
        self._shown.append(rest)
        return shown + rest

    def reply(self) -> Reply:
        """Return the complete answer."""
        incomplete = self._ending.incomplete
        # In an incomplete answer, the arguments of a call may be cut off.
        calls = () if incomplete else self._calls.calls()
        return Reply("".join(self._shown), calls, usage=self._usage, incomplete=incomplete)

    def _ours(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of the choices that belong to the first answer.

        Keep the other choices for `finish`. They may be pieces of the same answer, because some servers number the
        pieces of one answer. Such a server never sends an earlier number again. So if another choice of the first
        answer comes, the kept choices belong to other answers and are dropped.
        """
        indexes = [_index_of(choice, position) for position, choice in enumerate(choices)]
        if self._index is None:
            self._index = min((index for index in indexes if index is not None), default=None)
        ours = [choice for choice, index in zip(choices, indexes, strict=True) if index in (None, self._index)]
        self._others = [] if ours else [*self._others, *choices]
        return ours

    def _read(self, choice: dict[str, Any]) -> str:
        """Add a choice and return its text."""
        delta, message = mapping(choice.get("delta")), mapping(choice.get("message"))
        for holder in (choice, delta, message):
            self._add_usage(holder)
        self.has_deltas = self.has_deltas or isinstance(choice.get("delta"), dict)
        self._has_unread = self._has_unread or has_unread(delta) or has_unread(message)
        text, whole_text = said_in(delta) or text_of(choice.get("text")), said_in(message)
        calls, whole_calls = _calls_in(delta), _calls_in(message)
        self._calls.add_pieces(calls)
        self._calls.add_whole(whole_calls)
        self._ending.add(choice, has_content=bool(text or whole_text or calls or whole_calls))
        said = self._unrepeated.add_delta(text)
        return said + self._unrepeated.add_message(whole_text, is_last=bool(self._ending.reason))

    def _show(self, text: str) -> str:
        shown = self._thinking.add(whole(self._characters.add(text)))
        self._shown.append(shown)
        return shown

    def _add_usage(self, holder: dict[str, Any]) -> None:
        """Keep the greatest usage so far.

        Some servers send a growing usage with each piece, and some send zeros at the end.
        """
        value = mapping(holder.get("usage"))
        prompt = count_of(value.get("prompt_tokens", value.get("input_tokens")))
        completion = count_of(value.get("completion_tokens", value.get("output_tokens")))
        if is_count(prompt) and is_count(completion):
            counted = Usage(prompt, completion)
            if self._usage is None or _total(counted) >= _total(self._usage):
                self._usage = counted


def _index_of(choice: dict[str, Any], position: int) -> str | None:
    """Return the number of a choice as text.

    If the choice has no number, return its position, or None if it is the first choice.
    """
    index = choice.get("index")
    return str(index) if index is not None else str(position) if position else None


def _calls_in(message: dict[str, Any]) -> list[Any]:
    calls = items_of(message.get("tool_calls"))
    function = mapping(message.get("function_call"))
    return calls or ([{"function": function}] if function else [])


def _total(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens
