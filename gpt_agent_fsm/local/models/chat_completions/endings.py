"""Finds out how an answer ends: for which reason, and whether more of it may follow."""

from __future__ import annotations

from typing import Any

from gpt_agent_fsm.local.models.chat_completions.json_values import mapping, text_of

__all__ = ["Ending", "finish_of"]

_NOT_YET = ("null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified")
_CALLING = ("tool_calls", "tool_call", "tool_use", "function_call")
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


class Ending:
    """Collects what the pieces of an answer report about its end."""

    def __init__(self) -> None:
        self.reason: str = ""
        self.is_certain: bool = False
        """True if only the usage can follow: the latest piece has a finish reason, and an earlier piece had none.

        The earlier piece matters because some servers send a finish reason with each piece.
        """
        self._was_open = False

    def add(self, choice: dict[str, Any], *, has_content: bool) -> None:
        """Add a piece of the answer."""
        reason = finish_of(choice)
        self.reason = reason or self.reason
        if reason or has_content:
            self.is_certain = bool(reason) and self._was_open
            self._was_open = self._was_open or not reason

    @property
    def incomplete(self) -> str | None:
        """The reason why the answer ends too soon, as a value of `Reply.incomplete`.

        None if the answer does not end too soon.
        """
        return _INCOMPLETE.get(self.reason)

    @property
    def promises_calls(self) -> bool:
        """True if the answer ends because the model has called a tool."""
        return self.reason in _CALLING


def finish_of(choice: dict[str, Any]) -> str:
    """Return the reason for which a choice (one answer of the server) has ended. Return "" if it has not ended.

    Some servers send the reason as the `type` of an object.
    """
    reason = choice.get("finish_reason")
    said = (text_of(mapping(reason).get("type")) or text_of(reason)).strip().lower()
    return "" if said in _NOT_YET else said
