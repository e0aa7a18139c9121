"""Counts the tokens that a model has read and written, and cuts an answer that is too long.

If the model has not counted its tokens, their number is estimated from the length of the texts.
"""

from typing import Any, TypeGuard

from attrs import evolve

from gpt_agent_fsm.local.models.protocol import ModelRequest, Reply, Usage

CHARACTERS_PER_TOKEN = 4
"""The assumed length of a token for estimates, in characters."""


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value can be sent as a number of tokens, so that every client can read it."""
    return type(value) is int and 0 <= value < 2**53


def usage(request: ModelRequest, reply: Reply) -> dict[str, int]:
    """Return the usage of one turn in the form that the usage of a run has.

    If the model has not counted its tokens, they are estimated. Each estimated number is at least 1.
    """
    if reply.usage is not None:
        return reply.usage.as_dict()
    written = len(reply.text) + len(reply.refusal or "")
    written += sum(len(call.name) + len(call.arguments) for call in reply.calls)
    read = sum(map(_length, request.messages)) + len(request.instructions)
    return Usage(1 + read // CHARACTERS_PER_TOKEN, 1 + written // CHARACTERS_PER_TOKEN).as_dict()


def _length(message: dict[str, Any]) -> int:
    """Return the number of characters of a message and its text files. Images and other files are not counted."""
    parts = message.get("parts") or [{"text": message["content"]}]
    return sum(len(part.get("text", "")) for part in parts)


def max_characters(tokens: int) -> int:
    """Return the maximum length in characters of a text that is estimated to have at most this many tokens."""
    return tokens * CHARACTERS_PER_TOKEN - 1


def cut(reply: Reply, tokens: int | None) -> Reply:
    """Return the reply, cut to this many tokens. If it was cut, it is marked as incomplete.

    A reply with tool calls is never cut. A reply is also not cut if the model has counted its tokens itself.
    """
    if tokens is None or reply.calls or reply.usage is not None or len(reply.text) <= max_characters(tokens):
        return reply
    return evolve(reply, text=reply.text[: max_characters(tokens)], incomplete="max_completion_tokens")
