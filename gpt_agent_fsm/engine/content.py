"""Checks the parts of a message that a program wants to send, and reads their files."""

from __future__ import annotations

import os
from pathlib import PurePath

import attrs

from gpt_agent_fsm.engine.checks import optional_text, plain, required_text
from gpt_agent_fsm.engine.protocols import PartsBackend
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.events.media import data_of, image_type
from gpt_agent_fsm.events.parts import Content, File, Image, Part, Text

__all__ = ["checked_path", "name_in", "parts_refusal", "read_content", "read_file", "texts_of"]

_SOURCES = ("url", "file_id", "data", "path")


def read_content(content: Content, backend: object, max_bytes: int) -> tuple[str, tuple[Part, ...]]:
    """Return the text of a message, and its parts with the data of their files.

    If the message is only text, the tuple of parts is empty. Raises `ValueError` or `TypeError` if a part is wrong, if
    its file cannot be read, if the data of all parts together have more than `max_bytes` bytes, or if the backend
    cannot send a part.
    """
    if isinstance(content, str):
        return required_text(content, "the message"), ()
    if not isinstance(content, list | tuple):
        kind = type(content).__name__
        raise ValueError(f"the message must be a string or a list of str, Text, Image and File objects, not {kind}")
    if not content:
        raise ValueError("the message must have at least one part")
    reader = _Reader(max_bytes)
    parts = tuple(reader.read(part, f"part {number} of the message") for number, part in enumerate(content, 1))
    text = "\n".join(part.text for part in parts if isinstance(part, Text))
    if all(isinstance(part, Text) for part in parts):
        return text, ()
    if (reason := parts_refusal(backend, parts)) is not None:
        raise ValueError(reason)
    return text, parts


def parts_refusal(backend: object, parts: tuple[Part, ...]) -> str | None:
    """Return a sentence that says why the backend cannot send these parts. Return None if it can send them."""
    if offers(backend, PartsBackend):
        return backend.refused_parts(parts)
    return f"{type(backend).__name__} cannot send images and files: it must have the methods of PartsBackend."


def texts_of(part: Part) -> list[str]:
    """Return the texts that a part contains and that must not be logged.

    URLs are included, because they may contain secrets.
    """
    found = [part.text] if isinstance(part, Text) else [part.url, part.name if isinstance(part, File) else None]
    return [text for text in found if text]


def checked_path(path: object, what: str) -> str:
    """Return the path of a file as a `str`. Raises `ValueError` if `path` is not a path.

    The path may contain bytes that are not UTF-8.
    """
    path = os.fsdecode(path) if isinstance(path, bytes) else path
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{what} must be the path of a file, not {path!r}")
    return path


def name_in(path: str) -> str:
    """Return the file name in a path. JSON allows only UTF-8, so any other byte becomes a question mark."""
    return PurePath(path).name.encode(errors="replace").decode()


def read_file(path: str, what: str, size: int = -1) -> bytes:
    """Return the content of a file. If `size` is given, return at most that many bytes.

    Raises `ValueError` if reading fails.
    """
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} cannot be read: {error}") from error


class _Reader:
    """Reads the parts of one message. The data of all parts together may have at most `max_bytes` bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes

    def read(self, part: object, what: str) -> Part:
        """Return a part with its data. `what` names the part in an error."""
        if isinstance(part, str | Text):
            # A `Text` that the model wrote may have citations. They cannot be sent, so only the text is kept.
            return Text(required_text(part if isinstance(part, str) else part.text, what))
        if not isinstance(part, Image | File):
            raise TypeError(f"{what} must be a str, Text, Image or File object, not {type(part).__name__}")
        given = [name for name in _SOURCES if getattr(part, name) is not None]
        if len(given) != 1:
            kind, found = type(part).__name__, " and ".join(given) or "none of them"
            raise ValueError(f"{what}: {kind} must have exactly one of url, file_id, data and path, but has {found}")
        if isinstance(part, File):
            part = _checked(part, what)
        data = self._data(part, what)
        if data is None:
            return attrs.evolve(part, file_id=plain(part.file_id), url=plain(part.url), digest=None)
        self._check_data(part, data, what)
        return attrs.evolve(part, url=None, path=None, data=data, digest=None)

    def _data(self, part: Image | File, what: str) -> bytes | None:
        """Return the data of a part. Return None if the part has a URL or an id instead of data."""
        if part.file_id is not None:
            required_text(part.file_id, f"{what}: file_id")
            return None
        if part.url is not None:
            is_data = required_text(part.url, f"{what}: url").strip()[:5].lower() == "data:"
            if not is_data:
                return None
            if (data := data_of(part.url.strip())) is None:
                raise ValueError(f"{what}: the data URL must be encoded in base64")
            return data
        if part.path is not None:
            return read_file(checked_path(part.path, f"{what}: path"), what, self._left + 1)
        if not isinstance(part.data, bytes | bytearray | memoryview):
            raise TypeError(f"{what}: data must be bytes, not {type(part.data).__name__}")
        return bytes(part.data)

    def _check_data(self, part: Image | File, data: bytes, what: str) -> None:
        if not data:
            raise ValueError(f"{what} is empty")
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(
                f"the images and files of the message have more than {self._max_bytes} bytes together (see the setting "
                "max_part_bytes): call runtime.upload first, and send the file_id that it returns"
            )
        if isinstance(part, Image) and image_type(data) is None:
            raise ValueError(f"{what} is not a PNG, JPEG, GIF or WebP image")


def _checked(file: File, what: str) -> File:
    """Return the file, named after its path if it has no name. Raise an error for a wrong name or wrong tools."""
    tools: object = file.tools
    if tools is not None and not (tools and isinstance(tools, tuple) and all(isinstance(each, str) for each in tools)):
        raise TypeError(f'{what}: tools must be a tuple of names such as "file_search", not {tools!r}')
    name = optional_text(file.name, f"{what}: name")
    if name is None and file.path is not None:
        name = name_in(checked_path(file.path, f"{what}: path"))
    return attrs.evolve(file, name=name)
