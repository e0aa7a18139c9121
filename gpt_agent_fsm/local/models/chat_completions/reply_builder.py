"""Reads the answers of a chat-completions server leniently: whole, or piece by piece."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gpt_agent_fsm.local.models.chat_completions.json_values import items_of, mapping, text_of
from gpt_agent_fsm.local.models.chat_completions.thinking import Thinking
from gpt_agent_fsm.local.models.chat_completions.tool_calls import CallBuilder
from gpt_agent_fsm.local.models.protocol import Reply, Usage
from gpt_agent_fsm.local.models.tokens import is_count

__all__ = ["ReplyBuilder"]

_TOO_LONG = ("length", "model_length", "max_tokens", "max_output_tokens", "model_context_window_exceeded")
_FILTERED = (
    "content_filter",
    "content_filtered",
    "safety",
    "sensitive",
    "recitation",
    "prohibited_content",
    "blocklist",
)
_INCOMPLETE = dict.fromkeys(_TOO_LONG, "max_completion_tokens") | dict.fromkeys(_FILTERED, "content_filter")


class ReplyBuilder:
    """Builds a reply from one whole answer or the pieces of a stream; `tools` are the names that may be called.

    Accepts content as text, as a list of parts or null; arguments as text or as an object; a refusal as the answer;
    tool calls without ids; a `message` in place of a `delta`, beside it or after all of them; the one function call of
    older servers; and leaves out reasoning and unknown parts.
    """

    def __init__(self, tools: Collection[str] = ()) -> None:
        self.begun: bool = False
        self.ended: bool = False
        """True if the answer is known to be complete."""
        self._finish = ""
        self._said: list[str] = []
        self._has_deltas = False
        self._thinking = Thinking()
        self._shown: list[str] = []
        self._calls = CallBuilder(tools)
        self._choice: object = None
        self._usage: Usage | None = None

    def add(self, answer: dict[str, Any]) -> str:
        """Add an answer or a piece of one, and return the text in it."""
        choice = mapping(next(iter(items_of(answer.get("choices"))), None))
        for holder in (answer, choice, mapping(answer.get("x_groq"))):
            self._add_usage(mapping(holder.get("usage")))
        if not choice or not self._is_ours(choice):
            return ""
        self.begun = True
        self._finish = finish_of(choice) or self._finish
        self.ended = self.ended or bool(self._finish) or answer.get("object") == "chat.completion"
        delta, message = mapping(choice.get("delta")), mapping(choice.get("message"))
        said = self._beyond_deltas(_said_in(delta) or text_of(choice.get("text")))
        said += self._beyond_messages(_said_in(message))
        self._calls.add_pieces(_calls_in(delta))
        self._calls.add_whole(_calls_in(message))
        shown = self._thinking.add(said)
        self._shown.append(shown)
        return shown

    def finish(self) -> str:
        """Return the text that was held back because it might have been reasoning."""
        rest = "" if _INCOMPLETE.get(self._finish) else self._thinking.rest()
        self._shown.append(rest)
        return rest

    def reply(self) -> Reply:
        """Return the complete answer."""
        incomplete = _INCOMPLETE.get(self._finish)
        # The arguments of a call that was cut off may be anything.
        calls = () if incomplete else self._calls.calls()
        return Reply("".join(self._shown), calls, usage=self._usage, incomplete=incomplete)

    def _is_ours(self, choice: dict[str, Any]) -> bool:
        """Return whether a piece is of the first answer, if a server makes several ones at once."""
        index = choice.get("index")
        if not self.begun:
            self._choice = index
        return index is None or index == self._choice

    def _beyond_deltas(self, text: str) -> str:
        """Keep the text of a `delta`, and return what is new in it: the last one may repeat all of the answer."""
        said = "".join(self._said) if self._finish else ""
        # A single word may well come twice in a row.
        if said and text and (len(self._said) > 1 or " " in said.strip()):
            new = _beyond(said, text)
            text = text if new is None else new
        self._has_deltas = self._has_deltas or bool(text)
        return self._kept(text)

    def _beyond_messages(self, text: str) -> str:
        """Keep the text of a `message`, and return what is new in it: all of the answer so far, or only a piece."""
        said = "".join(self._said) if text else ""
        new = _beyond(said, text) if said else None
        if self._has_deltas:
            text = new or ""
        elif new is not None and (self._finish or new):
            text = new
        return self._kept(text)

    def _kept(self, text: str) -> str:
        if text:
            self._said.append(text)
        return text

    def _add_usage(self, value: dict[str, Any]) -> None:
        """Keep the greatest usage: some servers count with each piece, and some end with zeros."""
        prompt = value.get("prompt_tokens", value.get("input_tokens"))
        completion = value.get("completion_tokens", value.get("output_tokens"))
        if is_count(prompt) and is_count(completion):
            counted = Usage(prompt, completion)
            if self._usage is None or _total(counted) >= _total(self._usage):
                self._usage = counted


def finish_of(choice: dict[str, Any]) -> str:
    """Return the reason for which a choice has ended, "" if it has not; some servers send an object with a `type`."""
    reason = choice.get("finish_reason")
    return (text_of(mapping(reason).get("type")) or text_of(reason)).lower()


def _said_in(message: dict[str, Any]) -> str:
    return text_of(message.get("content")) or text_of(message.get("refusal"))


def _calls_in(message: dict[str, Any]) -> list[Any]:
    calls = items_of(message.get("tool_calls"))
    function = mapping(message.get("function_call"))
    return calls or ([{"function": function}] if function else [])


def _beyond(said: str, text: str) -> str | None:
    """Return what a text has beyond the text before it, "" if it only repeats that, None if it is another text."""
    if text.startswith(said):
        return text[len(said) :]
    said, text = said.strip(), text.strip()
    return text[len(said) :] if text.startswith(said) else None


def _total(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens
