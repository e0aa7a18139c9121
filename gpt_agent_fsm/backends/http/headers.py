"""Parses the headers of an HTTP answer.

`http.client` parses headers with the package `email`, which is made for e-mails. That takes a third of the time of a
request. This module parses usual headers line by line. If any line is unusual, all headers are parsed with `email`.
"""

from __future__ import annotations

import email.parser
import functools
import http.client
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, cast

__all__ = ["MAX_FIELDS", "Fields", "are_usual", "begin"]

_NAME, _VALUE = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", r"(?:[!-~\x80-\xff][\t -~\x80-\xff]*)?"
_USUAL = re.compile(rf"({_NAME}):[ \t]*({_VALUE})\r?\n")
"""A line with the name of a header (RFC 9110, 5.1) and its value, without control characters."""
_FIELDS = re.compile(rf"(?:{_NAME}:[ \t]*{_VALUE}\r\n)*".encode("latin-1"))
MAX_FIELDS = 99
"""The number of headers that `http.client` accepts."""
_read_lines: Callable[[Any], list[bytes]] = http.client._read_headers  # type: ignore[attr-defined]


class _Head(http.client.HTTPMessage):
    """Headers that this module has parsed. Their values need none of the conversions that `email` makes on access."""

    @functools.cached_property
    def _first(self) -> dict[str, str]:
        """The first value of each name, by the name in lower case."""
        return {name.lower(): value for name, value in reversed(self.items())}

    def get(self, name: str, failobj: Any = None) -> Any:  # noqa: ANN401 - as its base class
        return self._first.get(name.lower(), failobj)

    def items(self) -> list[tuple[str, Any]]:
        return list(self.raw_items())


def _parse_headers(fp: Any) -> http.client.HTTPMessage:  # noqa: ANN401 - a buffered reader
    lines = [line.decode("latin-1") for line in _read_lines(fp)]
    head = _Head()
    for line in lines[:-1]:
        usual = _USUAL.fullmatch(line)
        if usual is None:
            return email.parser.Parser(_class=http.client.HTTPMessage).parsestr("".join(lines))
        head.set_raw(usual[1], usual[2])
    return head


def _with_this_parser() -> Callable[[http.client.HTTPResponse], None]:
    if sys.version_info >= (3, 15):  # there, `begin` passes more to the parser
        return http.client.HTTPResponse.begin
    names = {**vars(http.client), "parse_headers": _parse_headers}
    function = FunctionType(http.client.HTTPResponse.begin.__code__, names, "begin")
    return cast("Callable[[http.client.HTTPResponse], None]", function)


begin = _with_this_parser()
"""`HTTPResponse.begin` of `http.client`, with the parser of this module."""


def are_usual(data: bytes, start: int, end: int) -> bool:
    """Return whether the bytes between these positions are headers that `begin` would read line by line."""
    return _FIELDS.fullmatch(data, start, end) is not None and data.count(b"\n", start, end) <= MAX_FIELDS


class Fields(Mapping[str, str]):
    """Usual headers, by their names in capital or small letters. They are read when somebody asks for one.

    A header that comes several times has its values in one text, separated by commas (RFC 9110, 5.3).

    Args:
        lines: the lines of the headers, each with its end.
    """

    def __init__(self, lines: bytes) -> None:
        self._lines = lines

    @functools.cached_property
    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines.decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.lstrip(" \t")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)
