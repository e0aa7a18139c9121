"""Limits how much of an answer is streamed before its allowed length is known."""

from gpt_agent_fsm.local.models.tokens import max_characters


class Clip:
    """Returns the pieces of a text, up to the estimated length of an answer with this many tokens.

    If the model has counted its tokens and the answer is longer, the rest is sent at the end.
    """

    def __init__(self, tokens: int | None) -> None:
        self._longest = None if tokens is None else max_characters(tokens)
        self.length: int = 0
        """The number of characters that were returned so far."""

    def __call__(self, piece: str) -> str:
        """Return the part of the text that is within the length, `""` if there is none."""
        if self._longest is not None:
            piece = piece[: self._longest - self.length]
        self.length += len(piece)
        return piece
