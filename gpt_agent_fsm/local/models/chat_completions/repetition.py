"""Removes repeated text.

Some servers repeat the whole answer at its end. Others repeat the answer so far in each piece.
"""

from __future__ import annotations

__all__ = ["Unrepeated"]

_LONG = 10
"""A single word of at least this many characters is regarded as repeated if it comes twice in a row."""


class Unrepeated:
    """Returns a text piece by piece, without repetitions.

    The text comes in deltas, which are pieces of the answer. A delta that begins with the whole answer so far is held
    back, because only the next delta shows whether it is a repetition. There are three cases. If no delta follows, and
    the answer came in several pieces, the held delta repeats the answer. If the next delta begins with the held delta,
    each delta contains the whole answer so far. Otherwise the held delta is new text.

    A text of one word with fewer than ten characters may come twice by chance, so it is not regarded as a repetition.
    If it is unclear whether a text is a repetition, the text is kept.
    """

    def __init__(self) -> None:
        self._said: list[str] = []
        self._opening = ""
        """The first piece that is not blank. A piece that does not begin with it is quickly known to be new."""
        self._held: list[str] = []
        self._is_cumulative = False
        self._has_deltas = False

    def add_delta(self, text: str) -> str:
        """Add the text of a `delta`, and return the text that is certainly new."""
        self._has_deltas = self._has_deltas or bool(text.strip())
        if self._held and text:
            return self._after_held(text)
        beyond = self._beyond(text) if self._opening and text.lstrip().startswith(self._opening) else None
        if beyond is None or self._is_cumulative:
            return self._said_now(text if beyond is None else beyond)
        if not beyond and len(self._said) == 1:
            return self._said_now(text)
        self._held = [text]
        return ""

    def add_message(self, text: str, *, is_last: bool) -> str:
        """Add the text of a `message`, and return the part of this text that is new.

        A `message` contains the whole answer so far. If the stream has no deltas, a `message` may also contain only a
        piece.
        """
        if not text:
            return ""
        released = self.rest()
        beyond = self._beyond(text)
        if self._has_deltas:
            text = beyond or ""
        elif beyond is not None and (is_last or beyond):
            text = beyond
        return released + self._said_now(text)

    def rest(self) -> str:
        """Return the part of the held text that is new. Call it when the answer has ended."""
        held, self._held = self._held, []
        if len(held) == 1 and len(self._said) > 1 and _is_phrase("".join(self._said)):
            return self._said_now(self._beyond(held[0]) or "")
        return self._said_now("".join(held))

    def _after_held(self, text: str) -> str:
        before = self._held[-1]
        if not (text.startswith(before) and len(text) > len(before) > len("".join(self._said))):
            held, self._held = "".join(self._held), []
            return self._said_now(held) + self.add_delta(text)
        if not _is_phrase(text):
            self._held.append(text)
            return ""
        self._held, self._is_cumulative = [], True
        return self._said_now(self._beyond(text) or "")

    def _beyond(self, text: str) -> str | None:
        """Return the rest of a text that begins with the answer so far. Return None for any other text.

        If the text only repeats the answer so far, return "".
        """
        said = "".join(self._said)
        if said and text.startswith(said):
            return text[len(said) :]
        said, text = said.strip(), text.strip()
        return text[len(said) :] if said and text.startswith(said) else None

    def _said_now(self, text: str) -> str:
        if text:
            self._said.append(text)
            self._opening = self._opening or text.strip()
        return text


def _is_phrase(text: str) -> bool:
    """Return whether a text is so long that it does not come twice by chance."""
    return len(text.split()) > 1 or len(text.strip()) >= _LONG
