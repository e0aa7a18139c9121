"""The interfaces of backends that send images and files. A backend need not implement them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gpt_agent_fsm.engine.protocols.backend import Timeout
from gpt_agent_fsm.events.parts import Part

__all__ = ["PartsBackend", "UploadBackend"]


@runtime_checkable
class PartsBackend(Protocol):
    """An API whose messages may contain images and files.

    The parts have no paths: the library has read the files. In `Backend.list_messages`, the `parts` of a user's message
    show its images and files. If the server shows only that there is an image, the part is an `Image` without a source.
    """

    def refused_parts(self, parts: Sequence[Part]) -> str | None:
        """Return a sentence that says which of these parts the API does not take, and what to do instead.

        Return None if the API takes the parts. Makes no request.
        """
        ...

    def post_parts(self, thread_id: str, parts: Sequence[Part], *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """Add a user message with these parts, as `Backend.post_message` adds a text."""
        ...


@runtime_checkable
class UploadBackend(Protocol):
    """An API that takes files."""

    def upload(self, name: str, data: bytes, purpose: str, *, timeout: Timeout) -> str:
        """Upload a file and return its id. Raises an `ApiError` as a method of `Backend` does."""
        ...
