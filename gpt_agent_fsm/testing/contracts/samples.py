"""Makes samples of everything that a store must keep, with every field set.

The samples are made from the annotations of the classes. So new fields and classes are included automatically.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine.effects import Request
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.snapshot import Pending, Snapshot
from gpt_agent_fsm.machine.tool_calls import ToolCalls, as_tool_calls

__all__ = ["LONG", "ODD_TEXTS", "every_command", "every_event", "every_snapshot"]

T = TypeVar("T")

ODD_TEXTS = (
    "",
    " \t\r\n ",
    "naïve Ελλάδα 漢字 שלום",
    "👩‍👩‍👧‍👦 \U0010ffff",
    "\"'`;--\\%_{}[]:name?$1",
    "\x00\x01\x7f\u2028\ufeff",
    "unpaired: \ud83d",
)
"""Texts that are damaged if a store quotes, trims or normalizes texts, or takes bytes for characters."""

LONG = "Long texts are kept whole. \N{SNOWMAN}" * 36_000
"""One megabyte."""

_JSON = {"a": [1, -2.5, True, None, "\N{SNOWMAN}"], "": {}, "big": 10**30}


def _value(kind: Any, numbers: Iterator[int]) -> Any:  # noqa: ANN401, PLR0911 - any value of any type
    """Return a value of the type `kind`. It differs from the default value of every field of this type."""
    if kind is Any:
        return _JSON
    if kind is str:
        return f"{next(numbers)}: {ODD_TEXTS[2]}"
    if kind is bytes:
        return b"\x00\xff" * next(numbers)
    if kind is bool:
        return True
    if kind in (int, float):
        return kind(next(numbers)) + kind(0.25)
    if kind is ToolCalls:
        return as_tool_calls(_value(tuple[ToolCall, ...], numbers))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _value(next(each for each in arguments if each is not NoneType), numbers)
    if origin is tuple:
        elements = _elements(arguments[0]) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(each, numbers) for each in elements)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[-1]
    return _filled(kind, numbers)


def _elements(kind: Any) -> Sequence[Any]:  # noqa: ANN401 - any type
    """Return the types of the elements in a sample of `tuple[kind, ...]`.

    If `kind` is a union of classes, return each class of the union. Otherwise return `kind` twice.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return kinds if kinds and all(map(attrs.has, kinds)) else (kind,) * 2


def _filled(kind: type[T], numbers: Iterator[int]) -> T:
    attrs.resolve_types(kind)  # type: ignore[type-var]
    fields = {field.name: _value(field.type, numbers) for field in attrs.fields(kind)}  # type: ignore[arg-type]
    return kind(**fields)


def every_command() -> list[Command]:
    """Return a command of each class."""
    return [_filled(kind, itertools.count(1)) for kind in get_args(Command)]


def every_event(thread_id: str) -> list[Event]:
    """Return an event of each class."""
    return [attrs.evolve(_filled(kind, itertools.count(1)), thread_id=thread_id) for kind in get_args(Event)]


def _pending(snapshot: Snapshot, request: Request) -> Pending:
    assert snapshot.pending is not None
    return attrs.evolve(snapshot.pending, request=request)


def every_snapshot(thread_id: str) -> list[Snapshot]:
    """Return snapshots with every field set, one for each class of request."""
    numbers = itertools.count(1)
    full = attrs.evolve(_filled(Snapshot, numbers), thread_id=thread_id)
    return [attrs.evolve(full, pending=_pending(full, _filled(kind, numbers))) for kind in get_args(Request)]
