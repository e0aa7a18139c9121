"""Turns snapshots, commands and events into JSON text, and back.

Classes are identified by their names. Fields that equal their defaults are omitted. If a text contains an unknown class
or field, a newer version of the library has written the text. The text is rejected, because the next save would lose
the unknown part.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, get_args

import attrs
import msgspec
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import Event, HostedToolUsed, ToolApprovalRequested, ToolCallRequested
from gpt_agent_fsm.events.parts import Part
from gpt_agent_fsm.machine.effects import CreateRun, GetLatestRun, PostMessage, Request
from gpt_agent_fsm.machine.inputs import Command
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.queue import EMPTY, Queue, QueuedMessage
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.tool_calls import ToolCalls, as_tool_calls

__all__ = [
    "SNAPSHOT_VERSION",
    "decode_command",
    "decode_event",
    "decode_message",
    "decode_snapshot",
    "encode_command",
    "encode_event",
    "encode_message",
    "encode_snapshot",
]

SNAPSHOT_VERSION = 2
"""The version of the format of snapshots. It is increased if an older library could not read a new format correctly."""

T = TypeVar("T")
_JSON: TypeAlias = Any
_NEWER = "was written by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm."


def _store_field(converter: MsgspecJsonConverter, kind: type, **fields: Any) -> None:  # noqa: ANN401 - overrides by name
    """Tell the converter how to store these fields of a class. The other fields are stored as usual."""
    write: Callable[[Any], Any] = make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True, **fields)
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=False, **fields
    )
    converter.register_unstructure_hook(kind, write)
    converter.register_structure_hook(kind, read)


def _make_converter() -> MsgspecJsonConverter:
    converter = make_converter(omit_if_default=True, forbid_extra_keys=True, detailed_validation=False)
    # A tool's arguments may be a value that only Python's own JSON decoder reads, such as an infinite number or an
    # unpaired surrogate. An event must not be lost because of its arguments, so they are stored as separate JSON text.
    own = override(unstruct_hook=json.dumps, struct_hook=lambda text, _: json.loads(text))
    for asked in (ToolCallRequested, ToolApprovalRequested):
        _store_field(converter, asked, arguments=own)
    _store_field(converter, HostedToolUsed, details=own)
    # These fields are stored under their former names.
    _store_field(converter, CreateRun, retry_of=override(rename="repeats"), may_exist=override(rename="in_doubt"))
    _store_field(converter, GetLatestRun, retry_of=override(rename="repeats"))
    for union in (Part, Request, Command, Event):
        configure_tagged_union(union, converter, tag_name="type")
    converter.register_unstructure_hook(
        Request | None, lambda value: None if value is None else converter.unstructure(value, Request)
    )
    converter.register_structure_hook(
        Request | None,
        lambda value, _: None if value is None else converter.structure(value, Request),  # type: ignore[arg-type]
    )
    write_call, read_call = converter.get_unstructure_hook(ToolCall), converter.get_structure_hook(ToolCall)
    converter.register_unstructure_hook(ToolCalls, lambda calls: [write_call(call) for call in calls])
    converter.register_structure_hook(
        ToolCalls, lambda value, _: as_tool_calls([read_call(each, ToolCall) for each in value])
    )
    # The queue is stored as separate rows.
    converter.register_unstructure_hook(
        Snapshot,
        make_dict_unstructure_fn(Snapshot, converter, _cattrs_omit_if_default=True, queue=override(omit=True)),
    )
    return converter


_converter = _make_converter()


def _to_text(value: _JSON) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # The text has an unpaired surrogate, which comes from code that counts in UTF-16. UTF-8 cannot encode it, but a
        # JSON escape can.
        return json.dumps(value, separators=(",", ":"))


def _from_text(text: str) -> _JSON:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def _read(what: str, text: str, build: Callable[[_JSON], T]) -> T:
    """Build an object from text. Raises `StoreError` for any defect; the error does not quote the text."""
    try:
        return build(_from_text(text))
    except StoreError:
        raise
    except (ForbiddenExtraKeysError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # The original errors are not chained, because they quote the conversation.
        problem = f"{what} in the store cannot be read ({type(error).__name__}): it is damaged, or it {_NEWER}"
    raise StoreError(problem)


def encode_snapshot(snapshot: Snapshot) -> str:
    """Return the JSON text of a snapshot, without its queue."""
    return _to_text({"version": SNAPSHOT_VERSION, **_converter.unstructure(_without_copy(snapshot), Snapshot)})


def _without_copy(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without those images and files of its request that are also in the first queued message."""
    post = _post_of_the_head(snapshot)
    if post is None or post.parts != snapshot.queue.head.parts:
        return snapshot
    return _with_parts(snapshot, post, ())


def _post_of_the_head(snapshot: Snapshot) -> PostMessage | None:
    """Return the snapshot's request, if this request posts the first queued message. Otherwise return None."""
    post = snapshot.request
    is_of_head = isinstance(post, PostMessage) and bool(snapshot.queue) and snapshot.queue.head.key == post.key
    return post if isinstance(post, PostMessage) and is_of_head else None


def _with_parts(snapshot: Snapshot, post: PostMessage, parts: tuple[Part, ...]) -> Snapshot:
    assert snapshot.pending is not None  # noqa: S101 - it has the request
    return attrs.evolve(snapshot, pending=attrs.evolve(snapshot.pending, request=attrs.evolve(post, parts=parts)))


def decode_snapshot(text: str, queue: Queue = EMPTY) -> Snapshot:
    """Return the snapshot that the text encodes, with this queue. Raises `StoreError` for invalid text.

    A text that a newer version of the library has written counts as invalid.
    """
    return _read("A snapshot", text, lambda value: _build_snapshot(value, queue))


def _build_snapshot(value: _JSON, queue: Queue) -> Snapshot:
    version = value.pop("version")
    if version > SNAPSHOT_VERSION:
        raise StoreError(f"The snapshot of {value.get('thread_id', 'a thread')} {_NEWER}")
    if version < SNAPSHOT_VERSION:
        raise ValueError("it has an old format, which should have been migrated when the store was opened")
    run = value.get("run") or {}
    if "timed_out" in run:
        # An earlier version of the library wrote the field in this form.
        run["ending"] = {"code": "timeout", "message": run.pop("timed_out")}
    snapshot: Snapshot = _converter.structure(value, Snapshot)
    if not queue:
        return snapshot
    snapshot = attrs.evolve(snapshot, queue=queue)
    post = _post_of_the_head(snapshot)
    return snapshot if post is None or post.parts else _with_parts(snapshot, post, queue.head.parts)


def encode_message(message: QueuedMessage) -> str:
    """Return JSON text that `decode_message` turns into an equal message."""
    return _to_text(_converter.unstructure(message, QueuedMessage))


def decode_message(text: str) -> QueuedMessage:
    """Return the queued message that the text encodes. Raises `StoreError` for invalid text."""
    return _read("A message", text, lambda value: _converter.structure(value, QueuedMessage))


def encode_command(command: Command) -> str:
    """Return JSON text that `decode_command` turns into an equal command."""
    return _to_text(_converter.unstructure(command, Command))


def decode_command(text: str) -> Command:
    """Return the command that the text encodes. Raises `StoreError` for invalid text."""
    return _read("A command", text, lambda value: _converter.structure(value, Command))  # type: ignore[arg-type]


def encode_event(event: Event) -> tuple[str, str]:
    """Return the name of the event's class, and the JSON text of its fields."""
    return type(event).__name__, _to_text(_converter.unstructure(event, type(event)))


_EVENTS: dict[str, type[attrs.AttrsInstance]] = {kind.__name__: kind for kind in get_args(Event)}


def decode_event(kind: str, text: str) -> Event:
    """Return the event of the class `kind`. Raises `StoreError` for an unknown class and for invalid text."""
    return _read("An event", text, lambda value: _converter.structure(value, _EVENTS[kind]))  # type: ignore[return-value]
