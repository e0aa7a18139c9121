"""Joins characters that were split into two surrogates. The two surrogates may be in different pieces of a text."""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "encodable", "paired"]


def paired(text: str, unpaired: str = "surrogatepass") -> str:
    """Return the text, with the two surrogates of each character joined.

    `unpaired` is the error handler for an unpaired surrogate. By default, such a surrogate stays in the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", unpaired)
    return text


def encodable(value: object) -> str:
    """Return the text, with question marks in place of unpaired surrogates, which UTF-8 cannot encode."""
    return paired(str(value)).encode("utf-8", "replace").decode()


class SurrogateJoiner:
    """Joins surrogates in a text that comes piece by piece.

    A surrogate at the end of a piece waits for the next piece.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, text: str) -> str:
        """Return the text that was held back, followed by this piece.

        If the piece ends with a first surrogate, hold it back.
        """
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return paired(text)

    def rest(self) -> str:
        """Return the surrogate that was held back, or "". Call it at the end of the text."""
        half, self._half = self._half, ""
        return half
