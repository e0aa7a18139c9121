"""The images and files that the users of a life send. The seed decides them, independently of everything else."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from gpt_agent_fsm.events.parts import Content
from gpt_agent_fsm.ports import File, Image, Message, Part, Text
from gpt_agent_fsm.testing.simulation.troubles import Wire

__all__ = ["Pictures", "word_of"]

_ADDRESS, _ID, _PNG = "https://example.org/", "file-", b"\x89PNG\r\n\x1a\n"

_KINDS: Mapping[Wire, tuple[Callable[[str], Part], ...]] = {
    "assistants": (
        lambda word: Image(url=_ADDRESS + word),
        lambda word: Image(file_id=_ID + word),
        lambda word: File(file_id=_ID + word),
    ),
    "responses": (
        lambda word: Image(url=_ADDRESS + word),
        lambda word: Image(file_id=_ID + word),
        lambda word: Image(data=_PNG + word.encode()),
        lambda word: File(url=_ADDRESS + word),
        lambda word: File(data=word.encode(), name="word.txt"),
    ),
}
"""For each API, functions that make the parts that the API takes. A user's message says one word, and each
of its parts contains this word."""


class Pictures:
    """Adds images and files to the messages of some lives. A message may also consist of an image alone.

    Attributes:
        sent: the parts of each message that has an image or file, by the word of the message.
    """

    def __init__(self, seed: int, wire: Wire) -> None:
        self._rng = random.Random(f"pictures {seed}")  # noqa: S311 - a life must be repeatable
        self._kinds = _KINDS[wire]
        self._likely = self._rng.choice([0.0, 0.4])
        self.sent: dict[str, tuple[Part, ...]] = {}

    def content(self, word: str) -> Content:
        """Return the content of the message that says this word."""
        if self._rng.random() >= self._likely:
            return word
        part = self._rng.choice(self._kinds)(word)
        # In the Assistants API, a file is attached to a message that has a text.
        alone = isinstance(part, Image) and self._rng.random() < 0.5
        self.sent[word] = (part,) if alone else (Text(word), part)
        return self.sent[word]


def word_of(message: Message) -> str:
    """Return the word that a user's message says, in its text or in its image."""
    return message.content or next((_word_in(part) for part in message.parts), "")


def _word_in(part: Part) -> str:
    if isinstance(part, Text):
        return part.text
    if part.data is not None:
        return part.data.removeprefix(_PNG).decode()
    return (part.url or part.file_id or "").removeprefix(_ADDRESS).removeprefix(_ID)
