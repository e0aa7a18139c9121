"""The parts of a message: texts with citations, images, and files."""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = ["Citation", "File", "Image", "Part", "Text", "plain_text"]


@attrs.frozen(kw_only=True)
class Citation:
    """A citation: a source that a text names.

    Attributes:
        start, end: where the citation is in the text, as numbers of characters; None if the server does not say.
        url, title: the address and title of a source on the web.
        file_id: the id of a source that is a file.
        quote: the cited words of the source.
    """

    start: int | None = None
    end: int | None = None
    url: str | None = None
    file_id: str | None = None
    title: str | None = None
    quote: str | None = None


@attrs.frozen
class Text:
    """A text.

    Attributes:
        annotations: the citations in the text, in order.
    """

    text: str
    annotations: tuple[Citation, ...] = attrs.field(default=(), kw_only=True)


@attrs.frozen(kw_only=True)
class Image:
    """An image. Exactly one of the attributes is set.

    Attributes:
        url: the address of the image.
        file_id: the id of the image's file on the server. `Runtime.download` returns its content.
        data: the content of the image.
    """

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class File:
    """A file that the assistant has made.

    Attributes:
        file_id: the id of the file on the server. `Runtime.download` returns its content.
        name: the name of the file, or None if the server does not say.
    """

    file_id: str
    name: str | None = None


Part: TypeAlias = Text | Image | File


def plain_text(content: str) -> tuple[Part, ...]:
    """Return the parts of a message that is only this text."""
    return (Text(content),) if content else ()
