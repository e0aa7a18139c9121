"""Reads the answers of a chat-completions server leniently: whole, or piece by piece."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import define

from gpt_agent_fsm.local.models.protocol import Reply, ToolCall, Usage
from gpt_agent_fsm.local.models.tokens import is_count

__all__ = ["ReplyBuilder", "mapping", "status_of"]

_INCOMPLETE = {
    "length": "max_completion_tokens",
    "model_length": "max_completion_tokens",
    "content_filter": "content_filter",
}


@define
class _Call:
    """A tool call, as complete as it is so far."""

    index: object
    id: object
    name: str = ""
    arguments: str = ""


class ReplyBuilder:
    """Builds a reply from one whole answer or the pieces of a stream.

    Accepts content as text, as a list of parts or null; arguments as text or as an object; a refusal as the answer;
    tool calls without ids; and leaves out unknown parts.
    """

    def __init__(self) -> None:
        self.begun = False
        self.finish: object = None
        self._said: list[str] = []
        self._calls: list[_Call] = []
        self._usage: Usage | None = None

    def add(self, answer: dict[str, Any]) -> str:
        """Add an answer or a piece of one, and return the text in it."""
        self._usage = _usage(answer.get("usage")) or self._usage
        choice = next(iter(_list(answer.get("choices"))), None)
        if not isinstance(choice, dict):
            return ""
        self.begun = True
        self.finish = choice.get("finish_reason") or self.finish
        whole = "message" in choice
        message = mapping(choice["message"] if whole else choice.get("delta"))
        for call in _list(message.get("tool_calls")):
            self._add_call(mapping(call), whole=whole)
        text = _text(message.get("content")) or _text(message.get("refusal"))
        self._said.append(text)
        return text

    def reply(self) -> Reply:
        """Return the complete answer."""
        incomplete = _INCOMPLETE.get(str(self.finish))
        # The arguments of a call that was cut off may be anything.
        calls = () if incomplete else tuple(ToolCall(call.name, call.arguments or "{}") for call in self._calls)
        return Reply("".join(self._said), calls, usage=self._usage, incomplete=incomplete)

    def _add_call(self, piece: dict[str, Any], *, whole: bool) -> None:
        function = mapping(piece.get("function"))
        index, call_id, name = piece.get("index"), piece.get("id"), _text(function.get("name"))
        call = None if whole else self._continued(index, call_id, name)
        if call is None:
            call = _Call(index, call_id, name)
            self._calls.append(call)
        arguments = function.get("arguments")
        if arguments is not None:
            call.arguments += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()

    def _continued(self, index: object, call_id: object, name: str) -> _Call | None:
        """Return the call that a piece continues, or None when it begins a new one.

        By the specification, the index decides. Some servers leave the index out, and some give every call the index 0:
        then a piece with a name begins a new call if its id is new, or if it has neither an id nor an index.
        """
        known = [call for call in self._calls if index is None or call.index == index]
        if not known:
            return None
        another = call_id != known[-1].id if call_id else index is None
        return None if name and another else known[-1]


def _text(content: object) -> str:
    if isinstance(content, list):
        parts = [mapping(part) for part in content]
        return "".join(_text(part.get("text")) or _text(part.get("refusal")) for part in parts)
    return content if isinstance(content, str) else ""


def _usage(value: object) -> Usage | None:
    prompt, completion = (mapping(value).get(name) for name in ("prompt_tokens", "completion_tokens"))
    return Usage(prompt, completion) if is_count(prompt) and is_count(completion) else None


def status_of(error: object) -> int:
    """Return the HTTP status that an error inside an answer would have as an HTTP answer."""
    code = mapping(error).get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return 429 if code == "rate_limit_exceeded" else 500


def mapping(value: object) -> dict[str, Any]:
    """Return a value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
