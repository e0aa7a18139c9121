"""The objects of the Assistants API, read leniently, and their translation into the library's own objects.

The objects follow OpenAI's published OpenAPI document 2.3.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from cattrs.preconf.msgspec import MsgspecJsonConverter

from gpt_agent_fsm import ports as objects
from gpt_agent_fsm.assistant import Assistant as OurAssistant
from gpt_agent_fsm.backends.shared.content import parts_of, sent_parts_of
from gpt_agent_fsm.backends.shared.converter import Page, make_wire_converter
from gpt_agent_fsm.backends.shared.run_outcomes import run_outcome
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY, function_of, settings_of
from gpt_agent_fsm.backends.shared.values import (
    arguments_of,
    lenient_count,
    lenient_id,
    lenient_mapping,
    lenient_number,
    lenient_text,
    refusal_of,
    required_id,
    text_of,
)
from gpt_agent_fsm.ports import RunRequest, RunStatus, ToolOutputsRequest
from gpt_agent_fsm.tools.definition import FunctionTool, ToolDefinition

_STATUSES = {
    "queued": RunStatus.ACTIVE,
    "in_progress": RunStatus.ACTIVE,
    "requires_action": RunStatus.NEEDS_TOOLS,
    "cancelling": RunStatus.CANCELLING,
    "completed": RunStatus.COMPLETED,
}


def key_metadata(key: str) -> dict[str, str]:
    """Return metadata with the key. By the key, the library finds a message or run on the server again."""
    return {METADATA_KEY: key}


# --- objects to send --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class NewMessage:
    role: str = "user"
    content: str
    metadata: dict[str, str]


def new_run(request: RunRequest) -> dict[str, Any]:
    """Return the body that creates a run."""
    options = dict(request.options)
    form, limit = options.pop("output", None), options.pop("max_output_tokens", None)
    choice = options.pop("tool_choice", None)
    return {
        "assistant_id": request.assistant_id,
        **options,
        "metadata": {**options.get("metadata", {}), **key_metadata(request.key)},
        **({} if limit is None else {"max_completion_tokens": limit}),
        **({} if choice is None else {"tool_choice": tool_choice(choice)}),
        **({} if form is None else {"response_format": response_format(form)}),
    }


def response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of an answer as this API describes it."""
    return {"type": "json_schema", "json_schema": form}


def tool_choice(choice: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return `tool_choice` in the form of this API.

    A `choice` that names a function may also have the form of the Responses API.
    """
    if isinstance(choice, str) or choice.get("type") != "function" or "function" in choice:
        return choice
    return {"type": "function", "function": {"name": choice.get("name")}}


def tool_outputs(request: ToolOutputsRequest) -> dict[str, Any]:
    """Return the body that answers the tool calls of a run. Only Azure's agents accept decisions about approvals."""
    outputs = [{"tool_call_id": call_id, "output": output} for call_id, output in request.outputs]
    approvals = [
        {"tool_call_id": call_id, "approve": json.loads(decision)["approve"]} for call_id, decision in request.decisions
    ]
    return {
        **({"tool_outputs": outputs} if outputs or not approvals else {}),
        **({"tool_approvals": approvals} if approvals else {}),
    }


def tool_definition(tool: ToolDefinition) -> Mapping[str, Any]:
    """Return a tool in the form of this API."""
    return {"type": "function", "function": function_of(tool)} if isinstance(tool, FunctionTool) else tool


def assistant_fields(assistant: OurAssistant) -> dict[str, Any]:
    """Return an assistant in the form of this API.

    Empty fields are included, so that an update also empties them on the server.
    """
    return {
        **settings_of(assistant),
        **({} if assistant.output is None else {"response_format": response_format(assistant.output.to_json())}),
        "name": assistant.name,
        "instructions": assistant.instructions,
        "tools": [tool_definition(tool) for tool in assistant.definitions],
    }


# --- objects to read --------------------------------------------------------------------------------


_ABOUT = ("id", "type")
_OUTPUTS, _APPROVAL = "submit_tool_outputs", "submit_tool_approval"


@attrs.frozen(kw_only=True)
class Thread:
    id: str = attrs.field(default=None, converter=required_id)


@attrs.frozen(kw_only=True)
class Run:
    id: str = attrs.field(default=None, converter=required_id)
    thread_id: str | None = attrs.field(default=None, converter=lenient_id)
    created_at: float | None = attrs.field(default=None, converter=lenient_number)
    status: Any = None
    assistant_id: str | None = attrs.field(default=None, converter=lenient_id)
    required_action: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    last_error: Any = None
    incomplete_details: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    usage: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    tools: Any = None

    @property
    def has_hosted_tools(self) -> bool:
        """True if the run may use tools that the server runs itself."""
        tools = self.tools if isinstance(self.tools, list) else []
        return any(_kind_of(lenient_mapping(tool)) != "function" for tool in tools)

    def to_run(self) -> objects.Run:
        """Return this run as a `Run` of the library. A run without a status counts as queued."""
        outcome = run_outcome(
            lenient_text(self.status) or "queued",
            known=_STATUSES,
            error=self.last_error,
            incomplete_details=self.incomplete_details,
        )
        return objects.Run(
            id=self.id,
            status=outcome.status,
            assistant_id=self.assistant_id,
            tool_calls=tuple(self._tool_calls()) if outcome.status is RunStatus.NEEDS_TOOLS else (),
            unsupported=self._unsupported() if outcome.status is RunStatus.NEEDS_TOOLS else "",
            code=outcome.code,
            message=outcome.message,
            usage=objects.Usage(
                prompt_tokens=lenient_count(self.usage.get("prompt_tokens")),
                completion_tokens=lenient_count(self.usage.get("completion_tokens")),
                total_tokens=lenient_count(self.usage.get("total_tokens")),
                cached_tokens=lenient_count(_detail(self.usage, "prompt_tokens_details", "cached_tokens")),
                reasoning_tokens=lenient_count(_detail(self.usage, "completion_tokens_details", "reasoning_tokens")),
            ),
            key=lenient_text(self.metadata.get(METADATA_KEY)),
        )

    def _asked(self, action: str = _OUTPUTS) -> list[Mapping[str, Any]]:
        calls = lenient_mapping(self.required_action.get(action)).get("tool_calls")
        return [lenient_mapping(call) for call in calls] if isinstance(calls, list) else []

    def _tool_calls(self) -> list[objects.ToolCall]:
        found = []
        for call in self._asked():
            function = lenient_mapping(call.get("function"))
            call_id, name = lenient_id(call.get("id")), lenient_text(function.get("name"))
            if call_id and _kind_of(call) == "function":
                arguments = arguments_of(function.get("arguments"))
                found.append(objects.ToolCall(id=call_id, name=name or "", arguments=arguments))
        for call in self._asked(_APPROVAL):
            # Only Azure's agents ask for this. The server makes the call itself if a person approves it.
            if call_id := lenient_id(call.get("id")):
                name, arguments = lenient_text(call.get("name")) or "", arguments_of(call.get("arguments"))
                found.append(objects.ToolCall(id=call_id, name=name, arguments=arguments, by_server=True))
        return found

    def _unsupported(self) -> str:
        """Return a clause that names what the run waits for, if the library cannot provide it. Otherwise return ""."""
        action = lenient_text(self.required_action.get("type")) or _OUTPUTS
        others = sorted({_kind_of(call) for call in self._asked()} - {"function"})
        if action not in (_OUTPUTS, _APPROVAL):
            return f"it waits for {action}, which gpt-agent-fsm cannot give"
        return (
            f"it waits for tools of the type {' and '.join(others)}, which gpt-agent-fsm cannot call" if others else ""
        )


def _detail(usage: Mapping[str, Any], group: str, name: str) -> Any:
    return lenient_mapping(usage.get(group)).get(name)


def _kind_of(call: Mapping[str, Any]) -> str:
    return lenient_text(call.get("type")) or "function"


@attrs.frozen(kw_only=True)
class Assistant:
    id: str = attrs.field(default=None, converter=required_id)
    name: str | None = attrs.field(default=None, converter=lenient_text)


@attrs.frozen(kw_only=True)
class Message:
    id: str = attrs.field(default=None, converter=required_id)
    thread_id: str | None = attrs.field(default=None, converter=lenient_id)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    content: Any = None
    attachments: Any = None
    run_id: str | None = attrs.field(default=None, converter=lenient_id)
    assistant_id: str | None = attrs.field(default=None, converter=lenient_id)
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    created_at: float | None = attrs.field(default=None, converter=lenient_number)

    def to_message(self) -> objects.Message:
        """Return this message as a `Message` of the library."""
        return objects.Message(
            id=self.id,
            role=self.role or "",
            content=text_of(self.content),
            run_id=self.run_id,
            assistant_id=self.assistant_id,
            key=lenient_text(self.metadata.get(METADATA_KEY)),
            created_at=self.created_at,
            refusal=refusal_of(self.content),
            parts=sent_parts_of(self.content, self.attachments) if self.role == "user" else parts_of(self.content),
        )


@attrs.frozen(kw_only=True)
class Step:
    id: str = attrs.field(default=None, converter=required_id)
    step_details: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)

    @property
    def hosted_calls(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """The calls of the server's own tools that were made: the kind, the id and the details of each."""
        calls = self.step_details.get("tool_calls")
        for call in map(lenient_mapping, calls if isinstance(calls, list) else []):
            kind, call_id = _kind_of(call), lenient_id(call.get("id"))
            # Azure's agents ask for an approval before some calls. A call that was denied was not made.
            if kind != "function" and call_id and call.get("approved") is not False:
                yield (
                    kind,
                    call_id,
                    lenient_mapping(call.get(kind)) or {k: v for k, v in call.items() if k not in _ABOUT},
                )


def are_runs_oldest_first(runs: Sequence[Run]) -> bool | None:
    """Return whether these runs are listed oldest first. Return None if the runs do not show it.

    An active run is always the newest run of its thread.
    """
    by_times = _by_times(runs)
    first, last = (run.to_run().status.locks_thread for run in (runs[0], runs[-1]))
    return by_times if by_times is not None or first == last else last


def are_messages_oldest_first(messages: Sequence[Message]) -> bool | None:
    """Return whether these messages are listed oldest first. Return None if the messages do not show it.

    The roles of the messages do not show their order.
    """
    return _by_times(messages)


def _by_times(entries: Sequence[Run] | Sequence[Message]) -> bool | None:
    times = [entry.created_at for entry in entries if entry.created_at is not None]
    return None if not times or times[0] == times[-1] else times[0] < times[-1]


@attrs.frozen(kw_only=True)
class RunPage(Page):
    data: list[Run]


@attrs.frozen(kw_only=True)
class StepPage(Page):
    data: list[Step]


@attrs.frozen(kw_only=True)
class MessagePage(Page):
    data: list[Message]


@attrs.frozen(kw_only=True)
class AssistantPage(Page):
    data: list[Assistant]


converter: MsgspecJsonConverter = make_wire_converter(
    (Thread, Run, Message, Assistant, Step),
    {RunPage: Run, MessagePage: Message, AssistantPage: Assistant, StepPage: Step},
)
