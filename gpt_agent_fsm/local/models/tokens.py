"""The tokens that a model has read and written, and the cut of an answer that is too long.

Tokens are estimated by length if the model has not counted them.
"""

from typing import TypeGuard

from attrs import evolve

from gpt_agent_fsm.local.models.protocol import ModelRequest, Reply, Usage

CHARACTERS_PER_TOKEN = 4
"""The assumed length of a token for estimates, in characters."""


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a token count that every client can read."""
    return type(value) is int and 0 <= value < 2**53


def usage(request: ModelRequest, reply: Reply) -> dict[str, int]:
    """Return the usage of one model turn in the form of a run's usage; estimated if the model has not counted it.

    An estimate is at least one.
    """
    if reply.usage is not None:
        return reply.usage.as_dict()
    written = len(reply.text) + sum(len(call.name) + len(call.arguments) for call in reply.calls)
    read = sum(len(message["content"]) for message in request.messages) + len(request.instructions)
    return Usage(1 + read // CHARACTERS_PER_TOKEN, 1 + written // CHARACTERS_PER_TOKEN).as_dict()


def max_characters(tokens: int) -> int:
    """Return the maximum length in characters of a text of this many tokens, by the estimate."""
    return tokens * CHARACTERS_PER_TOKEN - 1


def cut(reply: Reply, tokens: int | None) -> Reply:
    """Return a reply with at most this many tokens; it is incomplete if it was longer.

    Tool calls are never cut. An answer is not cut either if the model has counted its tokens, because its count is
    exact.
    """
    if tokens is None or reply.calls or reply.usage is not None or len(reply.text) <= max_characters(tokens):
        return reply
    return evolve(reply, text=reply.text[: max_characters(tokens)], incomplete="max_completion_tokens")
