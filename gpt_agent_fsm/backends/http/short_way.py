"""The short way of a request over an open connection: the bytes that `http.client` would send, and a short answer.

urllib3 and `http.client` take most of the time of a request. But nearly all requests over one connection differ only in
their path and body, and nearly all answers are short and come at once. So the head of a request is written once by
`http.client` and then used as a form. An answer is read here if everything about it is usual. Any other answer is read
by `http.client` and urllib3, beginning with the bytes that have already arrived.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gpt_agent_fsm.backends.http.headers import MAX_FIELDS, Fields, are_usual

__all__ = ["MAX_SHORT", "Arriving", "Forms", "ShortAnswer"]

MAX_SHORT = 65_536
"""The maximum size in bytes of a short answer with its head."""
_MAX_FORMS = 16
_PLAIN_TARGET = re.compile(r"/(?:[A-Za-z0-9/._~?=&!$'()*+,;:@-]|%[0-9A-F]{2})*")
"""A target that urllib3 sends as it is."""
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+(?=\r\n)")
_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [ -~\x80-\xff]*)?\r\n")
_FRAMED = frozenset(["content-length", "transfer-encoding"])
_WITHOUT_BODY = (b"204", b"304")
_EMPTY_LINE = b"\r\n"
_FRAMING = re.compile(rb"\n(content-length|connection|transfer-encoding|content-encoding|upgrade):[ \t]*([^\r]*)", re.I)
"""The headers that decide how an answer is read."""
_MAX_DIGITS = len(str(MAX_SHORT))

_Key = tuple[object, ...]


class Forms:
    """The heads that were sent over one connection, without what differs from request to request."""

    def __init__(self) -> None:
        self._forms: dict[_Key, list[bytes]] = {}

    def learn(self, method: str, headers: Mapping[str, str], body: object, head: bytes) -> None:
        """Keep the head of a request as the form of similar requests, unless its caller has framed the body."""
        _, version, fields = head.partition(b" HTTP/1.1\r\n")
        if not version or not _FRAMED.isdisjoint(name.lower() for name in headers):
            return
        if len(self._forms) >= _MAX_FORMS:
            self._forms.clear()  # each upload has a form of its own
        self._forms[_key(method, headers, body)] = _LENGTH.split(version + fields, maxsplit=1)

    def head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes | None:
        """Return the head of a request. Return None if it has no form, or if its target may be sent in another way."""
        form = self._forms.get(_key(method, headers, body))
        if form is None or _PLAIN_TARGET.fullmatch(target) is None:
            return None
        return f"{method} {target}".encode("ascii") + str(len(body or b"")).encode("ascii").join(form)


def _key(method: str, headers: Mapping[str, str], body: object) -> _Key:
    return method, body is None, *headers.items()


class ShortAnswer(NamedTuple):
    """An HTTP answer that has arrived whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Head(NamedTuple):
    """The head of a short answer, by its positions in the whole answer."""

    status: int
    lines: int
    body: int
    end: int


class Arriving:
    """An HTTP answer that arrives in pieces.

    Attributes:
        received: all bytes so far.
        answer: the answer, if it is short, has arrived whole, and nothing follows it.
    """

    def __init__(self) -> None:
        self.received = b""
        self.answer: ShortAnswer | None = None
        self._head: _Head | None = None

    def add(self, piece: bytes) -> bool:
        """Take the next bytes; none at the end of the connection. Return whether this may still be a short answer."""
        before = len(self.received)
        received = self.received = self.received + piece
        if self._head is None:
            end = _END.search(received, max(before - 2, 0))
            if end is None:
                return bool(piece) and len(received) < MAX_SHORT and _begins_as_usual(received)
            self._head = _read_head(received, end.end())
        head = self._head
        if head is not None and len(received) == head.end:
            headers = Fields(received[head.lines : head.body - len(_EMPTY_LINE)])
            self.answer = ShortAnswer(head.status, headers, received[head.body :])
        return bool(piece) and head is not None and len(received) <= head.end


def _begins_as_usual(received: bytes) -> bool:
    """Return whether `http.client` would find no fault in the first lines of an answer, and would read on."""
    lines = received.count(b"\n")
    return lines <= MAX_FIELDS and (lines == 0 or _STATUS.match(received) is not None)


def _read_head(received: bytes, size: int) -> _Head | None:
    """Read the first `size` bytes, which are the head of an answer and its empty line.

    Return None if anything is unusual: an answer without a body, an encoding, the last answer of its connection, a
    length that is missing or large, or a line that is not written as RFC 9110 says.
    """
    status = _STATUS.match(received)
    if status is None or status[1] in _WITHOUT_BODY:
        return None
    lines, end, length = status.end(), size - len(_EMPTY_LINE), None
    if not are_usual(received, lines, end):
        return None
    for name, value in _FRAMING.findall(received, lines - 1, end):
        match name.lower():
            case b"content-length" if length is None and value.isdigit() and len(value) <= _MAX_DIGITS:
                length = int(value)
            case b"connection" if value.lower() == b"keep-alive":
                pass
            case _:
                return None
    if length is None or size + length > MAX_SHORT:
        return None
    return _Head(int(status[1]), lines, size, size + length)
