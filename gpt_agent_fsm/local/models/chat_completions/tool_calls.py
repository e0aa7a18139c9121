"""Puts tool calls together from the pieces of a stream, however a server cuts, numbers and repeats them."""

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
    """A tool call, as complete as it is so far."""

    index: object = None
    id: object = None
    name: str = ""
    arguments: str = ""
    times_named: int = 0
    is_borrowed: bool = False
    """True if the first piece had no arguments, and the others a name but no id: they may be of another call."""

    @property
    def is_complete(self) -> bool:
        """True if the arguments are a JSON value, so that nothing can follow."""
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
            # They are repeated, or an empty object stood for arguments that were not known yet.
            self.arguments = (piece.arguments.strip() and piece.arguments) or self.arguments
        elif self.arguments.lstrip().startswith("{") and piece.arguments.startswith(self.arguments):
            self.arguments = piece.arguments  # each piece has all of the arguments so far
        else:
            self.arguments += piece.arguments

    def likeness(self, other: _Call) -> int:
        """Return how surely two descriptions of a call from different places of a stream are of one call; 0: not."""
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

    `names` are the names of the tools that the model was offered: they decide whether a name is complete.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = names
        self._calls: list[_Call] = []

    def add_pieces(self, pieces: list[Any]) -> None:
        """Add the calls of a `delta`, each of which begins a call or continues one."""
        begun: list[_Call] = []
        for piece in map(_read, pieces):
            call = self._continued(piece, begun)
            if call is None:
                self._calls.append(piece)
                begun.append(piece)
            else:
                call.merge(piece)

    def add_whole(self, calls: list[Any]) -> None:
        """Add the calls of a `message`, which are whole; the stream may have had them before."""
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
        """Return the calls in the order of their indexes; an entry that has nothing in it is none."""
        begun = [call for call in self._calls if call.name or call.arguments]
        places = {call.index: call for call in begun if isinstance(call.index, int)}
        if len(places) == len(begun):
            begun = [places[index] for index in sorted(places)]
        return tuple(ToolCall(whole(call.name), whole(call.arguments) or "{}") for call in begun)

    def _continued(self, piece: _Call, begun: list[_Call]) -> _Call | None:
        """Return the call that a piece continues, or None if it begins a new one; `begun` are those of the same event.

        By the specification, the index decides. Some servers leave the index out, and some give every call the index 0.
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
        """Return the call that a piece continues although their ids differ, or None if it begins a new one."""
        if call.is_complete or not call.arguments:
            return None
        if call.is_borrowed:
            # The id comes with the last piece of each call: the call that has come before has no arguments.
            self._calls.insert(self._calls.index(call), _Call(call.index, call.id, call.name))
            call.id = piece.id
            return call
        # Some servers make up an id for each piece.
        return None if piece.arguments.lstrip().startswith("{") else call

    def _are_two(self, call: _Call, piece: _Call) -> bool:
        """Return whether a piece with a name is about another call than the one that its id or index points to."""
        has_id = bool(piece.id) and piece.id == call.id
        if call.name != piece.name and call.name in self._names and piece.name in self._names:
            return True
        if call.is_complete:
            # A server that names the call with each piece may do so in an empty one at its end.
            is_end = not piece.arguments.strip() and call.times_named > 1
            is_same = has_id or is_end or _value(call.arguments) == _value(piece.arguments)
            return call.name != piece.name or not is_same
        if call.name == piece.name:
            return not (call.arguments or piece.arguments or has_id)
        # With an index, a name may be the next part of the name; without one, it begins a call unless it fits.
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
    """Return a name with its next piece, which may also repeat it or have all of it so far."""
    if piece.startswith(name) or not name:
        return piece or name
    return name if name.startswith(piece) else name + piece


def _encoded(value: object) -> str:
    """Return JSON text that loses nothing: not even a number that is none, at which the client fails."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _value(arguments: str) -> object:
    """Return the JSON value, or `_NOTHING` if the text is not valid JSON."""
    try:
        return msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return _NOTHING
