"""Reads lines of a stream that are not fields of server-sent events. Some servers report errors in such lines.

A JSON object without `data:` before it becomes an event without a name. A line `error: {...}` becomes an event named
`error`. Other lines of the form `name: value` are left out, and any other text becomes an event named `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["UNKNOWN", "with_stray_lines"]

UNKNOWN = "unknown"
"""The name of the event that is made for text between the events of a stream."""

_ENDS = re.compile(rb"\r\n|\r|\n")
_KNOWN = re.compile(rb"(data|event|id|retry)?[ ]?(:|$)")
_FIELD = re.compile(rb"([A-Za-z_][\w.-]*)[ ]?:[ ]?(.*)")
_ERROR = re.compile(rb"error|exception|fail", re.IGNORECASE)


def with_stray_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream of server-sent events. Other lines are converted into separate events."""
    stray: list[bytes] = []
    for line in _lines(chunks):
        if not _KNOWN.match(line):
            stray.append(line)
            continue
        if stray:
            yield _as_events(stray)
            stray = []
        yield line + b"\n"
    if stray:
        yield _as_events(stray)


def _as_events(lines: list[bytes]) -> bytes:
    """Return these lines as events. Fields that the specification does not define are left out, except errors."""
    if lines[0].lstrip()[:1] in (b"{", b"["):
        return _event(b"", lines)
    events = b""
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            events += _event(UNKNOWN.encode(), [line])
        elif _ERROR.search(field[1]):
            events += _event(b"error", [field[2]])
    return events


def _event(name: bytes, lines: list[bytes]) -> bytes:
    # The empty line at the beginning ends an event that was begun before.
    return b"\nevent: " + name + b"\n" + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines without their line ends. A line end has one or two bytes, and two chunks may split it."""
    begun: list[bytes] = []
    after_return = False
    for chunk in chunks:
        data = chunk[1:] if after_return and chunk.startswith(b"\n") else chunk
        after_return = chunk.endswith(b"\r") if chunk else after_return
        first, *others = _ENDS.split(data)
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    if last := b"".join(begun):
        yield last
