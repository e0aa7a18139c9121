"""Puts tool calls together from the pieces of a stream. Servers differ in how they split, number and repeat calls."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import msgspec
from attrs import define

from gpt_agent_fsm.local.models.chat_completions.json_values import mapping, text_of, whole
from gpt_agent_fsm.local.models.protocol import ToolCall

__all__ = ["CallBuilder"]

_NOTHING = object()


@define(eq=False)
class _Call:
    """The part of a tool call that has arrived so far, or one piece of a tool call."""

    index: object = None
    id: object = None
    name: str = ""
    arguments: str = ""
    times_named: int = 0
    is_borrowed: bool = False
    """True if the first piece has an id but no arguments, and the second piece has a name but no id.

    In this case, the further pieces may belong to another call.
    """

    @property
    def is_complete(self) -> bool:
        """True if the arguments are a complete JSON value."""
        return _value(self.arguments) is not _NOTHING

    def merge(self, piece: _Call) -> None:
        """Add a piece of this call."""
        if not self.arguments and self.times_named == 1:
            self.is_borrowed = bool(self.id and piece.name and not piece.id)
        self.times_named += piece.times_named
        self.index = piece.index if self.index is None else self.index
        self.id = self.id or piece.id
        self.name = _joined(self.name, piece.name)
        if self.is_complete and _value(self.arguments) in (_value(piece.arguments), {}):
            # The arguments are repeated, or an empty object was sent before the arguments were known.
            self.arguments = (piece.arguments.strip() and piece.arguments) or self.arguments
        elif self.arguments.lstrip().startswith("{") and piece.arguments.startswith(self.arguments):
            self.arguments = piece.arguments  # each piece contains all of the arguments so far
        else:
            self.arguments += piece.arguments

    def likeness(self, other: _Call) -> int:
        """Return how likely it is that two parts of a stream describe the same call. 0 means that they do not."""
        if self.id and self.id == other.id:
            return 3
        if self.name != other.name:
            return 0
        if _value(self.arguments or "{}") == _value(other.arguments or "{}") != _NOTHING:
            return 2
        shorter, longer = sorted((self.arguments, other.arguments), key=len)
        return int(longer.startswith(shorter))


class CallBuilder:
    """The tool calls of one answer.

    `names` are the names of the tools that the model may call. They show whether a name in a piece is complete.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = names
        self._calls: list[_Call] = []

    def add_pieces(self, pieces: list[Any]) -> None:
        """Add the pieces of calls in a `delta`. Each piece begins a new call, or continues a known call."""
        begun: list[_Call] = []
        for piece in map(_read, pieces):
            call = self._continued(piece, begun)
            if call is None:
                self._calls.append(piece)
                begun.append(piece)
            else:
                call.merge(piece)

    def add_whole(self, calls: list[Any]) -> None:
        """Add the whole calls of a `message`. Deltas of the stream may already have contained the same calls."""
        seen: list[_Call] = []
        for call in map(_read, calls):
            if not call.name:
                self.add_pieces([call])
                continue
            known = max((each for each in self._calls if each not in seen), key=call.likeness, default=call)
            if not call.likeness(known) or known is call:
                known = call
                self._calls.append(call)
            elif len(call.arguments) > len(known.arguments):
                known.arguments = call.arguments
            seen.append(known)

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls. If all have different indexes, they are sorted by index. Empty calls are left out."""
        begun = [call for call in self._calls if call.name or call.arguments]
        places = {call.index: call for call in begun if isinstance(call.index, int)}
        if len(places) == len(begun):
            begun = [places[index] for index in sorted(places)]
        return tuple(ToolCall(whole(call.name), whole(call.arguments) or "{}") for call in begun)

    def _continued(self, piece: _Call, begun: list[_Call]) -> _Call | None:
        """Return the call that a piece continues, or None if the piece begins a new call.

        According to the specification, the index of a piece names its call. But some servers send no index, and some
        send 0 for every call. `begun` are the calls that have begun in the same event.
        """
        known = [call for call in self._calls if piece.index is None or call.index in (None, piece.index)]
        if not known:
            return None
        call = next((each for each in reversed(known) if piece.id and each.id == piece.id), known[-1])
        if not piece.name or not call.name:
            return call
        if call in begun and not (piece.id and call.id == piece.id):
            return None
        if piece.id and call.id and piece.id != call.id:
            return self._under_another_id(call, piece)
        return None if self._are_two(call, piece) else call

    def _under_another_id(self, call: _Call, piece: _Call) -> _Call | None:
        """Return the call that a piece with a different id continues, or None if the piece begins a new call."""
        if call.is_complete or not call.arguments:
            return None
        if call.is_borrowed:
            # The server sends the id with the last piece of each call. So the earlier call has no arguments.
            self._calls.insert(self._calls.index(call), _Call(call.index, call.id, call.name))
            call.id = piece.id
            return call
        # Some servers make up an id for each piece.
        return None if piece.arguments.lstrip().startswith("{") else call

    def _are_two(self, call: _Call, piece: _Call) -> bool:
        """Return whether a piece with a name begins a second call, although its id or index is that of `call`."""
        has_id = bool(piece.id) and piece.id == call.id
        if call.name != piece.name and call.name in self._names and piece.name in self._names:
            return True
        if call.is_complete:
            # A server that repeats the name in each piece may end the call with a piece that has only the name.
            is_end = not piece.arguments.strip() and call.times_named > 1
            is_same = has_id or is_end or _value(call.arguments) == _value(piece.arguments)
            return call.name != piece.name or not is_same
        if call.name == piece.name:
            return not (call.arguments or piece.arguments or has_id)
        # A piece with an index may contain the next part of the name. A piece without an index and an id begins a new
        # call, unless both names together are the beginning of a tool's name.
        is_part = any(name.startswith(call.name + piece.name) for name in self._names)
        return piece.index is None and not piece.id and not is_part


def _read(piece: object) -> _Call:
    if isinstance(piece, _Call):
        return piece
    fields = mapping(piece)
    function = mapping(fields.get("function")) or fields
    arguments = function.get("arguments")
    text = "" if arguments is None else arguments if isinstance(arguments, str) else _encoded(arguments)
    name = text_of(function.get("name"))
    return _Call(fields.get("index"), fields.get("id") or None, name, text, bool(name))


def _joined(name: str, piece: str) -> str:
    """Return a name with its next piece added. A piece may also repeat the name, or contain the whole name so far."""
    if piece.startswith(name) or not name:
        return piece or name
    return name if name.startswith(piece) else name + piece


def _encoded(value: object) -> str:
    """Return a value as JSON text. Even NaN is kept, although a client cannot read it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _value(arguments: str) -> object:
    """Return the JSON value of the arguments, or `_NOTHING` if they are not valid JSON."""
    try:
        return msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return _NOTHING
