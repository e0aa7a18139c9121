"""The shapes of the Assistants wire, read leniently, and their translation into our own words.

Shapes follow OpenAI's published OpenAPI document 2.3.0. Compatible servers leave fields out or null, send floats for
timestamps and strings for error objects: a field is read if it makes sense and otherwise taken as absent, except for
ids, without which nothing can be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from gpt_agent_fsm import objects
from gpt_agent_fsm.objects import RunStatus

METADATA_KEY = "gpt_agent_fsm_key"
"""The name under which messages and runs carry our key."""

_STATUSES = {
    "queued": RunStatus.ACTIVE,
    "in_progress": RunStatus.ACTIVE,
    "requires_action": RunStatus.NEEDS_TOOLS,
    "cancelling": RunStatus.CANCELLING,
    "completed": RunStatus.COMPLETED,
}
_GOING_ON = ("ing", "progress", "queue")
_QUOTA = "exceeded your current quota"
_RATE = "rate limit reached"
_TOO_MUCH = 1e15


def key_metadata(key: str) -> dict[str, str]:
    """Return the metadata that makes a message or run of ours findable."""
    return {METADATA_KEY: key}


# --- what we send -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class NewMessage:
    role: str = "user"
    content: str
    metadata: dict[str, str]


@attrs.frozen(kw_only=True)
class NewRun:
    assistant_id: str
    metadata: dict[str, str]


@attrs.frozen(kw_only=True)
class NewToolOutput:
    tool_call_id: str
    output: str


@attrs.frozen(kw_only=True)
class NewToolOutputs:
    tool_outputs: list[NewToolOutput]


# --- what we read -----------------------------------------------------------------------------------


def _lenient_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _lenient_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _TOO_MUCH else None


def _lenient_count(value: Any) -> int:
    return max(int(_lenient_number(value) or 0), 0)


def _lenient_id(value: Any) -> str | None:
    """Return an id as text, also where the server counts; None for what is no id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _lenient_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _required_id(value: Any) -> str:
    found = _lenient_id(value)
    if found is None:
        raise ValueError("it has no id")
    return found


@attrs.frozen(kw_only=True)
class Thread:
    id: str = attrs.field(default=None, converter=_required_id)


@attrs.frozen(kw_only=True)
class Run:
    id: str = attrs.field(default=None, converter=_required_id)
    status: Any = None
    assistant_id: str | None = attrs.field(default=None, converter=_lenient_id)
    required_action: Mapping[str, Any] = attrs.field(default=None, converter=_lenient_mapping)
    last_error: Any = None
    incomplete_details: Mapping[str, Any] = attrs.field(default=None, converter=_lenient_mapping)
    usage: Mapping[str, Any] = attrs.field(default=None, converter=_lenient_mapping)
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=_lenient_mapping)

    def to_run(self) -> objects.Run:
        """Translate into our words. A run without a status counts as queued."""
        wire_status = (_lenient_text(self.status) or "queued").strip().lower()
        error_code, error_message = self._error()
        status = self._status(wire_status, error_code, error_message)
        reason = _lenient_text(self.incomplete_details.get("reason"))
        ended_badly = status in (RunStatus.FAILED, RunStatus.RATE_LIMITED, RunStatus.OUT_OF_QUOTA)
        return objects.Run(
            id=self.id,
            status=status,
            assistant_id=self.assistant_id,
            tool_calls=tuple(self._tool_calls()) if status is RunStatus.NEEDS_TOOLS else (),
            code=(error_code or reason or wire_status) if ended_badly else "",
            message=(error_message or _farewell(wire_status, reason)) if ended_badly else "",
            usage=objects.Usage(
                prompt_tokens=_lenient_count(self.usage.get("prompt_tokens")),
                completion_tokens=_lenient_count(self.usage.get("completion_tokens")),
                total_tokens=_lenient_count(self.usage.get("total_tokens")),
            ),
            key=_lenient_text(self.metadata.get(METADATA_KEY)),
        )

    def _error(self) -> tuple[str, str]:
        if isinstance(self.last_error, str):
            return "", self.last_error.strip()
        error = _lenient_mapping(self.last_error)
        return (_lenient_text(error.get("code")) or "").strip(), (_lenient_text(error.get("message")) or "").strip()

    def _status(self, wire_status: str, error_code: str, error_message: str) -> RunStatus:
        if wire_status in _STATUSES:
            return _STATUSES[wire_status]
        # A status of the server's own that sounds as if it went on does; anything else is an end.
        if wire_status.endswith(_GOING_ON) and not (self.last_error or self.incomplete_details):
            return RunStatus.ACTIVE
        if error_code == "insufficient_quota" or _QUOTA in error_message.lower():
            return RunStatus.OUT_OF_QUOTA
        if wire_status == "failed" and error_code == "rate_limit_exceeded" and _RATE in error_message.lower():
            return RunStatus.RATE_LIMITED
        return RunStatus.FAILED

    def _tool_calls(self) -> list[objects.ToolCall]:
        calls = _lenient_mapping(self.required_action.get("submit_tool_outputs")).get("tool_calls")
        found = []
        for call in calls if isinstance(calls, list) else []:
            function = _lenient_mapping(_lenient_mapping(call).get("function"))
            call_id, name = _lenient_id(_lenient_mapping(call).get("id")), _lenient_text(function.get("name"))
            if call_id:
                arguments = function.get("arguments")
                text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
                found.append(objects.ToolCall(id=call_id, name=name or "", arguments=text))
        return found


def waits_for_nothing(run: objects.Run) -> bool:
    """Tell of a run that it is said to need tools, without a call that could be answered."""
    return run.status is RunStatus.NEEDS_TOOLS and not run.tool_calls


def _farewell(status: str, reason: str | None) -> str:
    return f"The run ended as {status}{f' ({reason})' if reason else ''}; the server gave no message."


@attrs.frozen(kw_only=True)
class Message:
    id: str = attrs.field(default=None, converter=_required_id)
    role: str | None = attrs.field(default=None, converter=_lenient_text)
    content: Any = None
    run_id: str | None = attrs.field(default=None, converter=_lenient_id)
    assistant_id: str | None = attrs.field(default=None, converter=_lenient_id)
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=_lenient_mapping)
    created_at: float | None = attrs.field(default=None, converter=_lenient_number)

    def to_message(self) -> objects.Message:
        """Translate into our words; text parts are joined by a newline, everything else is left out."""
        return objects.Message(
            id=self.id,
            role=self.role or "",
            content=_text_of(self.content),
            run_id=self.run_id,
            assistant_id=self.assistant_id,
            key=_lenient_text(self.metadata.get(METADATA_KEY)),
            created_at=self.created_at,
        )


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else []:
        text = _lenient_mapping(part).get("text")
        if _lenient_mapping(part).get("type", "text") == "text" and text is not None:
            texts.append(text if isinstance(text, str) else _lenient_text(_lenient_mapping(text).get("value")))
    return "\n".join(text for text in texts if text)


@attrs.frozen(kw_only=True)
class RunPage:
    data: list[Run]
    has_more: bool | None = None


@attrs.frozen(kw_only=True)
class MessagePage:
    data: list[Message]
    has_more: bool | None = None


def _make_converter() -> MsgspecJsonConverter:
    made = make_converter(detailed_validation=False)

    def read(cls: type) -> Callable[[Any, Any], Any]:
        structure: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, made, _cattrs_prefer_attrib_converters=True)

        def from_object(value: Any, _: Any) -> Any:
            if not isinstance(value, dict):
                raise ValueError("it is no object")
            return structure(value, cls)

        return from_object

    for single in (Thread, Run, Message):
        made.register_structure_hook(single, read(single))

    def read_items(cls: type) -> Callable[[Any], list[Any]]:
        one = read(cls)
        # An item without an id can be neither asked for nor told apart from others.
        return lambda items: [
            one(item, cls) for item in items if isinstance(item, dict) and _lenient_id(item.get("id"))
        ]

    def read_page(page: type, item: type) -> None:
        items = read_items(item)

        def from_page(value: Any, _: Any) -> Any:
            data = value if isinstance(value, list) else _lenient_mapping(value).get("data")
            if not isinstance(data, list):
                raise ValueError("it has no list of data")
            more = _lenient_mapping(value).get("has_more")
            return page(data=items(data), has_more=more if isinstance(more, bool) else None)

        made.register_structure_hook(page, from_page)

    read_page(RunPage, Run)
    read_page(MessagePage, Message)
    return made


converter = _make_converter()
