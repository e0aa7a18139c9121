"""Characters that come in two halves: as unpaired surrogates, each in another piece of a text."""

from __future__ import annotations

__all__ = ["SurrogateJoiner", "paired"]


def paired(text: str) -> str:
    """Return the text with the halves of each character joined; a surrogate without its other half stays."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text


class SurrogateJoiner:
    """Passes a text on piece by piece, and keeps the first half of a character until the second one comes."""

    def __init__(self) -> None:
        self._half = ""

    def add(self, text: str) -> str:
        """Return the part of the text that consists of whole characters."""
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return paired(text)

    def rest(self) -> str:
        """Return the half that was held back; call it at the end of the text."""
        half, self._half = self._half, ""
        return half
