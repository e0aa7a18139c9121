"""Collects the text of an answer while the model writes it, for a caller who reads the text piece by piece."""

from __future__ import annotations

import threading

from gpt_agent_fsm.events import AssistantMessageAdded, AssistantMessageDelta

__all__ = ["SpokenText"]


class SpokenText:
    """The known text of one run's messages, and the part of this text that the caller has already taken.

    Workers add text in the order of the events, and the caller takes it. The caller cannot give text back. If the text
    changes later, for example because another run starts after a rate limit, the caller gets new text
    only if it continues the text that the caller has already taken.

    Attributes:
        has_news: True if something was added since the caller last took the text.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = ""
        self.has_news: bool = False
        self._whole: list[str] = []
        """The contents of the messages that have come whole."""
        self._begun: dict[str, str] = {}
        """The texts of the messages that have begun, by the ids of the messages."""
        self._is_lost = False
        """True if further pieces cannot be used."""

    def add_delta(self, delta: AssistantMessageDelta) -> None:
        """Add a piece of a message."""
        with self._lock:
            self.has_news = True
            if not self._is_lost:
                self._begun[delta.message_id] = self._begun.get(delta.message_id, "") + delta.text

    def add_message(self, added: AssistantMessageAdded) -> None:
        """Add a whole message."""
        with self._lock:
            self.has_news = True
            if self._begun.pop(added.message_id, None) is None and self._begun and added.content:
                # The message's pieces have come under another id. So the library cannot know to which
                # message later pieces belong.
                self._begun.clear()
                self._is_lost = True
            self._whole.append(added.content)

    def start_again(self) -> None:
        """Forget the text, because another run writes a new text."""
        with self._lock:
            self._whole.clear()
            self._begun.clear()
            self._is_lost = False

    def take(self) -> str:
        """Return the text that follows the text taken so far. Return "" if there is none."""
        with self._lock:
            self.has_news = False
            text = "\n".join(filter(None, (*self._whole, *self._begun.values())))
            if not text.startswith(self._taken):
                return ""
            piece = text[len(self._taken) :]
            self._taken = text
            return piece
