"""Puts tool calls together from the pieces of a stream, however a server cuts, numbers and repeats them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from attrs import define

from gpt_agent_fsm.local.models.chat_completions.json_values import mapping, text_of
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

    @property
    def is_complete(self) -> bool:
        """True if the arguments are a JSON value, so that nothing can follow."""
        return _value(self.arguments) is not _NOTHING

    def merge(self, piece: _Call) -> None:
        """Add a piece of this call."""
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

    def is_twin(self, other: _Call) -> bool:
        """Return whether two descriptions of a call from different places of a stream are of the same call."""
        if self.id and self.id == other.id:
            return True
        shorter, longer = sorted((self.arguments, other.arguments), key=len)
        same = longer.startswith(shorter) or (self.is_complete and _value(self.arguments) == _value(other.arguments))
        return self.name == other.name and same


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
            known = next((each for each in self._calls if each not in seen and each.is_twin(call)), None)
            if known is None:
                self._calls.append(call)
            elif len(call.arguments) > len(known.arguments):
                known.arguments = call.arguments
            seen.append(known or call)

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls; an entry that has nothing in it is none."""
        begun = [call for call in self._calls if call.name or call.arguments]
        return tuple(ToolCall(call.name, call.arguments or "{}") for call in begun)

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
        if piece.id and call.id == piece.id:
            return None if self._are_two(call, piece) else call
        if call in begun:
            return None
        if piece.id and call.id:
            # Some servers make up an id for each piece.
            is_begun = bool(call.arguments) and not call.is_complete
            return call if is_begun and not piece.arguments.lstrip().startswith("{") else None
        return None if self._are_two(call, piece) else call

    def _are_two(self, call: _Call, piece: _Call) -> bool:
        """Return whether a piece with a name is about another call than the one that its id or index points to."""
        if call.name != piece.name and call.name in self._names and piece.name in self._names:
            return True
        if not call.is_complete:
            # With an index, a name may be the next part of the name; without one, it begins a call unless it fits.
            is_part = any(name.startswith(call.name + piece.name) for name in self._names)
            return piece.index is None and not piece.id and call.name != piece.name and not is_part
        is_repeated = not piece.arguments.strip() or _value(call.arguments) in (_value(piece.arguments), {})
        return call.name != piece.name or not is_repeated


def _read(piece: object) -> _Call:
    if isinstance(piece, _Call):
        return piece
    fields = mapping(piece)
    function = mapping(fields.get("function")) or fields
    arguments = function.get("arguments")
    text = "" if arguments is None else arguments if isinstance(arguments, str) else _encoded(arguments)
    return _Call(fields.get("index"), fields.get("id") or None, text_of(function.get("name")), text)


def _joined(name: str, piece: str) -> str:
    """Return a name with its next piece, which may also repeat it or have all of it so far."""
    if piece.startswith(name) or not name:
        return piece or name
    return name if name.startswith(piece) else name + piece


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _value(arguments: str) -> object:
    """Return the JSON value, or `_NOTHING` if the text is not valid JSON."""
    try:
        return msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return _NOTHING
