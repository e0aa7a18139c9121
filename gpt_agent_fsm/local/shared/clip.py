"""Limits the text of an answer that is streamed before the number of its tokens is known."""

from gpt_agent_fsm.local.models.tokens import max_characters


class Clip:
    """Cuts the streamed pieces of an answer at the estimated length of `tokens` tokens. None means no limit.

    If the model counts its tokens itself, its answer may be longer than the estimate. The rest is sent at the end.
    """

    def __init__(self, tokens: int | None) -> None:
        self._longest = None if tokens is None else max_characters(tokens)
        self.length: int = 0
        """The number of characters that were returned by all calls so far."""

    def __call__(self, piece: str) -> str:
        """Return the part of the piece that is within the limit. Return "" if earlier pieces have reached the limit."""
        if self._longest is not None:
            piece = piece[: self._longest - self.length]
        self.length += len(piece)
        return piece
