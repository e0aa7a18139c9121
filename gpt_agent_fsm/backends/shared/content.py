"""Reads the parts of a message of either API: texts with their citations, images, and files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from gpt_agent_fsm.backends.shared.values import lenient_id, lenient_mapping, lenient_number, lenient_text
from gpt_agent_fsm.ports import Citation, File, Image, Part, Text, media

__all__ = ["file_path", "image_of", "parts_of", "sent_parts_of"]

_TEXTS = ("text", "input_text", "output_text")
_IMAGES = ("image_file", "image_url", "input_image", "output_image")
_FILE = "input_file"
_MADE = ("file_path", "container_file_citation")
"""The types of annotations that name a file that the assistant has made."""


def parts_of(content: object) -> tuple[Part, ...]:
    """Return the parts of an assistant's message. Unknown parts, parts without a source, and refusals are left out."""
    found = list[Part]()
    for part in filter(_has_source, _parts_in(content)):
        # The text may mention a file several times. Each mention has an annotation.
        if not (isinstance(part, File) and part in found):
            found.append(part)
    return tuple(found)


def sent_parts_of(content: object, attachments: object = None) -> tuple[Part, ...]:
    """Return the parts of a user's message.

    If the server does not show the content, the address or the id of an image or file, its part has no source.
    """
    attached = [each for each in attachments if isinstance(each, dict)] if isinstance(attachments, list) else []
    return (*_parts_in(content), *(File(file_id=_file_id(each)) for each in attached))


def _has_source(part: Part) -> bool:
    return isinstance(part, Text) or any(source is not None for source in (part.url, part.data, part.file_id))


def _parts_in(content: object) -> Iterator[Part]:
    if isinstance(content, str) and content:
        yield Text(content)
    for each in content if isinstance(content, list) else ():
        if isinstance(each, dict):
            yield from _parts(each)


def _parts(part: Mapping[str, Any]) -> Iterator[Part]:
    kind = part.get("type", "text")
    if kind in _TEXTS:
        yield from _text(part)
    elif kind in _IMAGES:
        yield _image(part)
    elif kind == _FILE:
        name = lenient_text(part.get("filename"))
        yield File(name=name, file_id=_file_id(part), **_url_or_data(part.get("file_url") or part.get("file_data")))


def _text(part: Mapping[str, Any]) -> Iterator[Part]:
    inner = lenient_mapping(part.get("text"))
    text = lenient_text(part.get("text")) or lenient_text(inner.get("value"))
    listed = inner.get("annotations") or part.get("annotations")
    annotations = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if text:
        yield Text(text, annotations=tuple(filter(None, map(_citation, annotations))))
    for each in annotations:
        if each.get("type") in _MADE and (file_id := _file_id(each)):
            yield File(file_id=file_id, name=lenient_text(each.get("filename")) or _name_in(each))


def _citation(annotation: Mapping[str, Any]) -> Citation | None:
    """Return the citation of the source that an annotation names.

    Return None if it names no source, or names a file that the assistant made.
    """
    url, file_id = lenient_text(annotation.get("url")), _file_id(annotation)
    if annotation.get("type") in _MADE or not (url or file_id):
        return None
    inner = lenient_mapping(annotation.get("file_citation"))
    return Citation(
        start=_index(annotation.get("start_index")),
        end=_index(annotation.get("end_index")),
        url=url,
        file_id=file_id,
        title=lenient_text(annotation.get("title")) or lenient_text(annotation.get("filename")),
        quote=lenient_text(inner.get("quote")),
    )


def _file_id(annotation: Mapping[str, Any]) -> str | None:
    """Return the id of a file. For a file in a container, the id is `container/file`."""
    inner = lenient_mapping(annotation.get("file_citation")) or lenient_mapping(annotation.get("file_path"))
    file_id = lenient_id(annotation.get("file_id")) or lenient_id(inner.get("file_id"))
    container = lenient_id(annotation.get("container_id"))
    return f"{container}/{file_id}" if container and file_id else file_id


def _name_in(annotation: Mapping[str, Any]) -> str | None:
    """Return the name at the end of a path such as `sandbox:/mnt/data/table.csv`."""
    path = lenient_text(annotation.get("text")) or ""
    return path.rpartition("/")[2] or None


def _index(value: object) -> int | None:
    number = lenient_number(value)
    return None if number is None else int(number)


def _url_or_data(value: object) -> dict[str, Any]:
    """Return the `url` of an image or file. If the URL is a data URL, return the `data` that it contains."""
    url = lenient_text(value) or None
    data = None if url is None else media.data_of(url)
    return {"url": url} if data is None else {"data": data}


def _image(part: Mapping[str, Any]) -> Image:
    inner = lenient_mapping(part.get("image_file")) or lenient_mapping(part.get("image_url"))
    file_id = lenient_id(part.get("file_id")) or lenient_id(inner.get("file_id"))
    return Image(file_id=file_id) if file_id else Image(**_url_or_data(inner.get("url") or part.get("image_url")))


def image_of(encoded: object) -> tuple[Part, ...]:
    """Return an image that the server has sent in base64. If it cannot be decoded, return no image."""
    try:
        data = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except (binascii.Error, ValueError):
        return ()
    return (Image(data=data),) if data else ()


def file_path(file_id: str) -> tuple[str, ...]:
    """Return the URL path of a file's content, as its parts.

    If a file is in a container, its id is `container/file`.
    """
    container, _, own = file_id.rpartition("/")
    return ("containers", container, "files", own, "content") if container else ("files", own, "content")
