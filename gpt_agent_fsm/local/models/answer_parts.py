"""The parts of an answer that are not its text: citations, and hosted tools, which a real service runs itself.

The fields of these classes are checked when a part is made. A wrong type raises `TypeError`.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from gpt_agent_fsm.local.models.surrogates import encodable


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"A text is expected here, not a {type(value).__name__}.")
    return encodable(value)


def optional_text(value: object) -> str | None:
    """Return the value if it is a text or None. Raises `TypeError` for anything else."""
    return None if value is None else _text(value)


def texts(values: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple. Raises `TypeError` for a single text, and if an item is not a text."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"A list of texts is expected here, not a {type(values).__name__}.")
    return tuple(map(_text, values))


def _arguments(value: dict[str, Any] | str) -> str:
    return _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False))


@frozen
class UrlCitation:
    """A citation of a web page. It marks `text`, which must be a part of the answer."""

    text: str = field(converter=_text)
    url: str = field(converter=_text)
    title: str = field(default="", converter=_text)


@frozen
class FileCitation:
    """A citation of a file. It marks `text`, which must be a part of the answer."""

    text: str = field(converter=_text)
    file_id: str = field(converter=_text)
    filename: str = field(default="", converter=_text)


@frozen
class FilePath:
    """A link to a file that was made for the answer. It marks `text`, which must be a part of the answer."""

    text: str = field(converter=_text)
    file_id: str = field(converter=_text)


@frozen
class WebSearch:
    """A search of the web, and the addresses that were found."""

    query: str = field(converter=_text)
    urls: tuple[str, ...] = field(default=(), converter=texts)


@frozen
class FileSearchResult:
    """A piece of a file that a `FileSearch` has found."""

    file_id: str = field(converter=_text)
    filename: str = field(converter=_text)
    text: str = field(default="", converter=_text)
    score: float = field(default=1.0, converter=float)


def _results(values: Iterable[FileSearchResult]) -> tuple[FileSearchResult, ...]:
    results = tuple(values)
    if not all(isinstance(each, FileSearchResult) for each in results):
        raise TypeError("The results of a FileSearch must be FileSearchResults.")
    return results


@frozen
class FileSearch:
    """A search of files, and what was found."""

    queries: tuple[str, ...] = field(converter=texts)
    results: tuple[FileSearchResult, ...] = field(default=(), converter=_results)


@frozen
class CodeInterpreter:
    """Code that was run, and what it has printed."""

    code: str = field(converter=_text)
    logs: str = field(default="", converter=_text)


@frozen
class McpCall:
    """A call to a remote (MCP) server. If `error` is not None, the call failed."""

    name: str = field(converter=_text)
    arguments: str = field(default="{}", converter=_arguments)
    output: str = field(default="", converter=_text)
    server_label: str = field(default="local", converter=_text)
    error: str | None = field(default=None, converter=optional_text)


def _data(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"The data of an image must be bytes, not a {type(value).__name__}.")
    return value


@frozen
class MadeImage:
    """An image that was made for the answer; `data` is the content of a PNG, JPEG, GIF or WebP file."""

    data: bytes = field(converter=_data, repr=False)


Annotation = UrlCitation | FileCitation | FilePath
HostedTool = WebSearch | FileSearch | CodeInterpreter | McpCall | MadeImage


def spans(text: str, marks: Iterable[Annotation]) -> list[tuple[Annotation, int, int]]:
    """Return each annotation with the start and the end of the text that it marks.

    If several annotations mark the same text, each of them gets the next place where the text occurs. An annotation for
    which no place is left gets the last place. If the text of an annotation does not occur, because the answer was cut,
    the annotation is left out.
    """
    found: list[tuple[Annotation, int, int]] = []
    ends: dict[str, int] = {}
    for annotation in marks:
        start = text.find(annotation.text, ends.get(annotation.text, 0))
        if start < 0:
            start = text.rfind(annotation.text)
        if start >= 0:
            ends[annotation.text] = end = start + len(annotation.text)
            found.append((annotation, start, end))
    return found


def check_annotations(text: str, annotations: Sequence[Annotation]) -> None:
    """Raise `TypeError` unless each annotation marks a part of the text."""
    if not all(annotation.text and annotation.text in text for annotation in annotations):
        raise TypeError("Each annotation of a Reply must mark a part of the answer's text.")


def annotations(values: Iterable[Annotation]) -> tuple[Annotation, ...]:
    """Return annotations as a tuple. Raises `TypeError` if one of the values is not an annotation."""
    made = tuple(values)
    if not all(isinstance(each, Annotation) for each in made):
        raise TypeError("The annotations of a Reply must be UrlCitations, FileCitations and FilePaths.")
    return made


def hosted_tools(values: Iterable[HostedTool]) -> tuple[HostedTool, ...]:
    """Return hosted tools as a tuple. Raises `TypeError` if one of the values is not a hosted tool."""
    made = tuple(values)
    if not all(isinstance(each, HostedTool) for each in made):
        raise TypeError(
            "The hosted tools of a Reply must be WebSearches, FileSearches, CodeInterpreters, McpCalls and MadeImages."
        )
    return made
