"""The parts of a message: texts with citations, images, and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import attrs

__all__ = ["Citation", "Content", "File", "Image", "Part", "Text", "plain_text"]


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


class _PathLike(Protocol):
    """A path: see `os.PathLike`."""

    def __fspath__(self) -> str: ...


def _as_text(path: str | _PathLike | None) -> str | None:
    if path is None or isinstance(path, str) or not hasattr(path, "__fspath__"):
        # Any other value is refused later, when the message is sent.
        return path  # type: ignore[return-value]
    return path.__fspath__()


def _as_tuple(names: Iterable[str] | None) -> tuple[str, ...] | None:
    # A text is not split into letters, so that it can be refused later, when the message is sent.
    return tuple(names) if isinstance(names, list | tuple) else names  # type: ignore[return-value]


@attrs.frozen(kw_only=True)
class Image:
    """An image. Exactly one of the attributes is set.

    Attributes:
        url: the address of the image.
        file_id: the id of the image's file on the server. `Runtime.download` returns its content.
        data: the content of the image. In a message that you send, it must be a PNG, JPEG, GIF or WebP image.
        path: the path of the image's file. Only a message that you send may contain a path. The file is read when the
            message is accepted.
        digest: `sha256:` and the hexadecimal digest of the content. Only the event `UserMessageAdded` has it, because
            the history does not keep the content of the images that you send.
    """

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    path: str | None = attrs.field(default=None, converter=_as_text)
    digest: str | None = None


@attrs.frozen(kw_only=True)
class File:
    """A file. Exactly one of `file_id`, `url`, `data`, `path` and `digest` is set.

    Attributes:
        file_id: the id of the file on the server. `Runtime.download` returns its content.
        name: the name of the file; None if it is not known. The default for a `path` is the name in the path.
        url: the address of the file.
        data: the content of the file.
        path, digest: as in `Image`.
        tools: the names of the server's tools that may use the file, for example `("code_interpreter",)`. Only the
            Assistants API has such tools. The default is `("file_search",)`.
    """

    file_id: str | None = None
    name: str | None = None
    url: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    path: str | None = attrs.field(default=None, converter=_as_text)
    tools: tuple[str, ...] | None = attrs.field(default=None, converter=_as_tuple)
    digest: str | None = None


Part: TypeAlias = Text | Image | File
Content: TypeAlias = str | Sequence[str | Text | Image | File]
"""The content of a message that a program sends."""


def plain_text(content: str) -> tuple[Part, ...]:
    """Return the parts of a message that contains only this text. If the text is empty, there are no parts."""
    return (Text(content),) if content else ()
