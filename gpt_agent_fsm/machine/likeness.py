"""Compares a sent message with a listed message by texts, images and files, to find out whether they may be the same.

Servers show the parts of a message in several ways: with all of their data, with an id or an address, or only with
their kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

from gpt_agent_fsm.events.media import digest_of
from gpt_agent_fsm.events.parts import File, Image, Part
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.queue import QueuedMessage

__all__ = ["may_be", "without_data"]

P = TypeVar("P", Image, File)


def without_data(part: Part) -> Part:
    """Return the part with a digest in place of its data."""
    if isinstance(part, Image | File) and part.data is not None:
        return attrs.evolve(part, data=None, digest=digest_of(part.data))
    return part


def may_be(sent: QueuedMessage, listed: Message) -> bool:
    """Return whether the sent message and the listed message may be the same.

    Only the content that the server shows is compared.
    """
    if listed.role != "user" or sent.content != listed.content:
        return False
    files = _of_kind(File, listed.parts)
    # Some servers do not show the files that are attached to a message.
    return _are_alike(_of_kind(Image, sent.parts), _of_kind(Image, listed.parts)) and (
        not files or _are_alike(_of_kind(File, sent.parts), files)
    )


def _of_kind(kind: type[P], parts: Sequence[Part]) -> list[P]:
    return [part for part in parts if isinstance(part, kind)]


def _are_alike(sent: Sequence[P], listed: Sequence[P]) -> bool:
    return len(sent) == len(listed) and all(map(_may_be_part, sent, listed))


def _may_be_part(sent: Image | File, listed: Image | File) -> bool:
    """Return whether two images or files, one sent and one listed, may have the same source."""
    own, shown = _source(sent), _source(listed)
    both = [name for name in own if own[name] is not None and shown[name] is not None]
    if both:
        return any(own[name] == shown[name] for name in both)
    # The server may have stored the sent data, or a file fetched from the sent URL, under an id or address of its own.
    is_made = sent.data is not None or (isinstance(sent, File) and sent.url is not None)
    return is_made or not any(shown.values())


def _source(part: Image | File) -> dict[str, str | None]:
    digest = part.digest if part.data is None else digest_of(part.data)
    return {"url": part.url, "file_id": part.file_id, "digest": digest}
