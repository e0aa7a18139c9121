"""Removes the reasoning from an answer. Models behind simple servers send it between tags at the answer's beginning."""

from __future__ import annotations

import re

__all__ = ["Thinking", "has_unopened"]

_ANALYSIS, _FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
_START = "<|start|>assistant"
_OPENING = re.compile(
    rf"<think(ing)?(\s[^<>]*)?>|\[think\]|({re.escape(_START)})?(?={re.escape(_ANALYSIS)}|{re.escape(_FINAL)})", re.I
)
_OPENINGS = ("<think>", "<thinking>", "[think]", _ANALYSIS, _FINAL, _START + _ANALYSIS, _START + _FINAL)
_HALF_AN_OPENING = re.compile(r"<think(ing)?\s[^<>]*", re.IGNORECASE)
_CLOSING = re.compile(r"</think(ing)?>|\[/think\]|" + re.escape(_FINAL), re.IGNORECASE)
_LONGEST_CLOSING = len(_FINAL)
# A closing tag inside a sentence is only mentioned there, and does not end the reasoning.
_UNOPENED = re.compile(r"\A(?:(?!<think).)*?(?:\n\s*</think(?:ing)?>|</think(?:ing)?>[ \t]*\n)", re.I | re.DOTALL)


class Thinking:
    """Returns a text piece by piece, without the blocks of reasoning at its beginning.

    A tag may be split into two pieces.

    Some models send reasoning without an opening tag, because that tag is in the template of their prompt. If `patient`
    is True, the text is held back until a closing tag shows the end of such reasoning. If no closing tag comes, the
    whole text is passed on at the end.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self._held = ""
        self._is_open = False
        self._has_thought = False
        self._is_over = False

    def add(self, text: str) -> str:
        """Add a piece. Return the text that is certainly not reasoning and was not returned before."""
        if self._is_over:
            return text
        self._held += text
        new = len(text)
        while block := self._block(max(0, len(self._held) - new - _LONGEST_CLOSING)):
            self._held, self._has_thought, self._patient = self._held[block.end() :], True, False
            new = len(self._held)
        if self._has_thought and not self._is_open:
            self._held = self._held.lstrip()  # blank lines separate the answer from the reasoning
        if self._is_open or self._patient or _may_open(self._held.lstrip()):
            return ""
        self._is_over = True
        return self.rest()

    def rest(self, *, drop_open: bool = False) -> str:
        """Return the text that was held back. Call it when the answer has ended.

        With `drop_open`, reasoning without a closing tag is left out.
        """
        held, self._held = self._held, ""
        return "" if self._is_open and drop_open else held

    def _block(self, new: int) -> re.Match[str] | None:
        """Find the first block of reasoning.

        Return a match whose end is the end of the block, or None if there is no block.

        Only text after the position `new` is searched for closing tags, because the text before it was searched
        earlier.
        """
        begun = len(self._held) - len(self._held.lstrip())
        opening = _OPENING.match(self._held, begun)
        self._is_open = opening is not None
        closing = _CLOSING.search(self._held, max(new, opening.end() if opening else 0))
        if opening or closing is None:
            return closing
        return _UNOPENED.match(self._held)


def has_unopened(text: str) -> bool:
    """Return whether a text contains the closing tag of reasoning, but no opening tag before it."""
    return bool(_UNOPENED.match(text))


def _may_open(begun: str) -> bool:
    """Return whether a text may be the beginning of an opening tag."""
    return any(tag.startswith(begun.lower()) for tag in _OPENINGS) or bool(_HALF_AN_OPENING.fullmatch(begun))
