"""Reads server-sent events from any iterator of bytes. The parser is sseclient-py; see decision 0009."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Iterator

import attrs
import sseclient

__all__ = ["ServerSentEvent", "read_events"]


@attrs.frozen
class ServerSentEvent:
    """One event: its name, which is `message` by default, and its data, which may have several lines."""

    name: str
    data: bytes


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Yield the events as they arrive. Comments and events without data are left out.

    The last event is included even if the empty line after it is missing.
    """
    # In Latin-1 each byte is one character. So the data do not change, even if they are not valid UTF-8.
    for event in sseclient.SSEClient(_without_mark(chunks), "latin-1").events():
        data = event.data.encode("latin-1").strip()
        if data:
            yield ServerSentEvent(event.event, data)


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes without a byte order mark at the start. The parser would regard the mark as a part of a name."""
    chunks, head = iter(chunks), b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(codecs.BOM_UTF8) or not codecs.BOM_UTF8.startswith(head):
            break
    return itertools.chain([head.removeprefix(codecs.BOM_UTF8)], chunks)
