"""The parts of a message: texts with citations, images, and files."""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = ["Citation", "File", "Image", "Part", "Text", "plain_text"]


@attrs.frozen(kw_only=True)
class Citation:
    """A citation of a source in a text.

    Attributes:
        start, end: the positions in the text at which the citation begins and ends, counted in characters; None if the
            server does not report them.
        url: the address of the source, if it is on the web.
        title: the title or the file name of the source.
        file_id: the id of the source, if it is a file.
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
        name: the name of the file; None if the server does not report it.
    """

    file_id: str
    name: str | None = None


Part: TypeAlias = Text | Image | File


def plain_text(content: str) -> tuple[Part, ...]:
    """Return the parts of a message that contains only this text. If the text is empty, there are no parts."""
    return (Text(content),) if content else ()
