"""Keeps the reasoning out of an answer that begins with it, between tags, as models behind plain servers send it."""

from __future__ import annotations

__all__ = ["Thinking"]

_BEGIN, _END = "<think>", "</think>"


class Thinking:
    """Passes on a text without the block of reasoning at its beginning. A tag may come in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._has_thought = False
        self._is_over = False

    def add(self, text: str) -> str:
        """Return the part of the text that is certainly no reasoning."""
        if self._is_over:
            return text
        self._held += text
        begun = self._held.lstrip()
        if begun.startswith(_BEGIN) and _END in begun:
            begun = begun.partition(_END)[2].lstrip()
            self._has_thought = True
        if self._has_thought:
            self._held = begun  # blank lines separate the answer from the reasoning
        if begun.startswith(_BEGIN) or _BEGIN.startswith(begun):
            return ""
        self._is_over = True
        return self.rest()

    def rest(self) -> str:
        """Return the text that was held back; call it when the answer has ended."""
        held, self._held = self._held, ""
        return held
