"""How much of an answer may be streamed before it is known how long it is allowed to be."""

from gpt_agent_fsm.local.models.tokens import max_characters


class Clip:
    """Lets as much text through, piece by piece, as an answer of at most so many tokens has by its length.

    If the model has counted its tokens and has said more, the rest is sent at the end.
    """

    def __init__(self, tokens: int | None) -> None:
        self._longest = None if tokens is None else max_characters(tokens)
        self.length = 0
        """How many characters have been let through."""

    def __call__(self, piece: str) -> str:
        """Return what there is room for, `""` when there is none."""
        if self._longest is not None:
            piece = piece[: self._longest - self.length]
        self.length += len(piece)
        return piece
