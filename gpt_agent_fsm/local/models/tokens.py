"""How many tokens a model has read and written, and where an answer is cut.

Tokens are estimated by length where the model has not counted them.
"""

from typing import TypeGuard

from attrs import evolve

from gpt_agent_fsm.local.models.protocol import ModelRequest, Reply, Usage

CHARACTERS_PER_TOKEN = 4
"""How long a token is assumed to be where tokens are estimated."""


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a number of tokens that every client can read."""
    return type(value) is int and 0 <= value < 2**53


def usage(request: ModelRequest, reply: Reply) -> dict[str, int]:
    """Return the tokens of one model turn in the form of a run's; estimated by length when the model has not counted.

    An estimate is at least one.
    """
    if reply.usage is not None:
        return reply.usage.as_dict()
    written = len(reply.text) + sum(len(call.name) + len(call.arguments) for call in reply.calls)
    read = sum(len(message["content"]) for message in request.messages) + len(request.instructions)
    return Usage(1 + read // CHARACTERS_PER_TOKEN, 1 + written // CHARACTERS_PER_TOKEN).as_dict()


def max_characters(tokens: int) -> int:
    """Return how many characters a text of at most so many tokens has, as long as tokens are estimated."""
    return tokens * CHARACTERS_PER_TOKEN - 1


def cut(reply: Reply, tokens: int | None) -> Reply:
    """Return a reply with at most so many tokens, which is incomplete when it was longer.

    Tool calls are never cut, and neither is what the model has counted: it knows better.
    """
    if tokens is None or reply.calls or reply.usage is not None or len(reply.text) <= max_characters(tokens):
        return reply
    return evolve(reply, text=reply.text[: max_characters(tokens)], incomplete="max_completion_tokens")
