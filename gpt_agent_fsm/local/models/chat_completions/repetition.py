"""Text that comes more than once: some servers repeat the whole answer at its end, or with each piece."""

from __future__ import annotations

__all__ = ["Unrepeated"]

_LONG = 10
"""The length in characters of a single word that is not said twice in a row by chance."""


class Unrepeated:
    """Passes each text on once.

    A delta that begins with all of the text before it is held back, because only the next one decides about it: it is
    a repetition of two pieces or more if nothing follows, or all of the answer so far if the next one begins with it
    as well. Everything short of two words or ten characters may well come twice. When unsure, it is text.
    """

    def __init__(self) -> None:
        self._said: list[str] = []
        self._opening = ""
        """The first piece that is not blank: a quick check of most other pieces."""
        self._held: list[str] = []
        self._is_cumulative = False
        self._has_deltas = False

    def add_delta(self, text: str) -> str:
        """Add the text of a `delta`, and return what is certainly new."""
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
        """Add the text of a `message`, which is all of the answer so far, or a piece if there are no deltas."""
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
        """Return the new text in what was held back; call it when nothing follows."""
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
        """Return what a text has beyond the text so far, "" if it only repeats that, None if it is another text."""
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
    """Return whether a text is long enough to be a repetition if it comes twice."""
    return len(text.split()) > 1 or len(text.strip()) >= _LONG
