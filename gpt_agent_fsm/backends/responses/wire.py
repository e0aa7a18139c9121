"""The objects of Responses and Conversations, read leniently, and their translation into the library's own objects.

The objects follow OpenAI's published OpenAPI document 2.3.0.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from cattrs.preconf.msgspec import MsgspecJsonConverter

from gpt_agent_fsm import ports as objects
from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.responses.asks import closing_item, describe, is_answer, is_approval, is_function_call
from gpt_agent_fsm.backends.shared.content import image_of, parts_of, sent_parts_of
from gpt_agent_fsm.backends.shared.converter import Page, make_wire_converter
from gpt_agent_fsm.backends.shared.run_outcomes import run_outcome
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY, form_of, function_of, settings_of, with_options
from gpt_agent_fsm.backends.shared.values import (
    arguments_of,
    lenient_count,
    lenient_id,
    lenient_mapping,
    lenient_text,
    mapping_or_none,
    refusal_of,
    required_id,
    text_of,
)
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.tools.definition import FunctionTool, ToolDefinition

RUN = "gpt_agent_fsm_run"
"""In a response's metadata, the id of its run if it differs from the response's id. In a conversation's metadata, the
id of the last response."""
ASSISTANT = "gpt_agent_fsm_assistant"
USAGE = "gpt_agent_fsm_usage"
"""In a response's metadata, the tokens that its run had used before this response."""

_IMAGE = "image_generation_call"
_REASONING = "reasoning"
_HOSTED = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    _IMAGE: "image_generation",
    "mcp_call": "mcp",
}
_UNFINISHED = ("in_progress", "searching", "interpreting", "generating", "calling")
_NO_DETAILS = ("id", "type", "result")
"""The fields that are left out of the details of a tool's use. The `result` of an image generation is the image
itself."""
_MAX_METADATA = 512
_COUNT = re.compile(r"[0-9]{1,15}")

_STATUSES = {
    "queued": RunStatus.ACTIVE,
    "in_progress": RunStatus.ACTIVE,
    "completed": RunStatus.COMPLETED,
}

# --- objects to send --------------------------------------------------------------------------------


def call_output(call_id: str, output: str) -> dict[str, Any]:
    """Return the item that answers a tool call."""
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def tool_definition(tool: ToolDefinition) -> Mapping[str, Any]:
    """Return a tool in the form of this API."""
    return {"type": "function", **function_of(tool)} if isinstance(tool, FunctionTool) else tool


def metadata(**pairs: str) -> dict[str, str]:
    """Return metadata with these entries. Entries whose value is empty or too long are left out."""
    return {name: value for name, value in pairs.items() if value and len(value) <= _MAX_METADATA}


def new_response(
    assistant: Assistant,
    conversation_id: str,
    said: Sequence[Mapping[str, Any]] | None,
    about: Mapping[str, str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body that creates a response.

    `said` contains the items of the input. If `said` is None, the body has no input.
    """
    tools = [tool_definition(tool) for tool in assistant.definitions]
    form, choice = form_of(assistant, options), options.get("tool_choice")
    limit, settings = options.get("max_output_tokens"), settings_of(with_options(assistant, options))
    return {
        "background": True,
        **settings,
        **({"tools": tools} if tools else {}),
        **({} if choice is None else {"tool_choice": tool_choice(choice)}),
        **({} if limit is None else {"max_output_tokens": limit}),
        **({} if form is None else {"text": {**settings.get("text", {}), "format": {"type": "json_schema", **form}}}),
        "conversation": conversation_id,
        **({} if said is None else {"input": said}),
        "store": True,
        "metadata": {**options.get("metadata", {}), **about},
    }


def tool_choice(choice: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return `tool_choice` in the form of this API.

    A `choice` that names a function may also have the form of the Assistants API.
    """
    function = None if isinstance(choice, str) else choice.get("function")
    return {"type": "function", "name": function.get("name")} if isinstance(function, Mapping) else choice


def continued(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a run for a response that continues the run.

    The options no longer force the model to call a tool.
    """
    keeps_choice = options.get("tool_choice") in ("auto", "none")
    return {name: value for name, value in options.items() if name != "tool_choice" or keeps_choice}


# --- objects to read --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Conversation:
    id: str = attrs.field(default=None, converter=required_id)
    metadata: Mapping[str, Any] | None = attrs.field(default=None, converter=mapping_or_none)


@attrs.frozen(kw_only=True)
class File:
    id: str = attrs.field(default=None, converter=required_id)


@attrs.frozen(kw_only=True)
class Item:
    id: str | None = attrs.field(default=None, converter=lenient_id)
    type: str | None = attrs.field(default=None, converter=lenient_text)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    status: Any = None
    content: Any = None
    call_id: str | None = attrs.field(default=None, converter=lenient_id)
    approval_request_id: str | None = attrs.field(default=None, converter=lenient_id)
    name: str | None = attrs.field(default=None, converter=lenient_text)
    arguments: Any = None
    output: Any = None
    approve: Any = None
    reason: str | None = attrs.field(default=None, converter=lenient_text)
    result: Any = None
    summary: Any = None
    whole: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping, repr=False)
    """The item as the server sent it; empty unless the item belongs to a response."""

    @property
    def is_message(self) -> bool:
        """True if the item is a message, or an image that the model has made."""
        return self.type in ("message", _IMAGE) or (self.type is None and self.role is not None)

    @property
    def asked_id(self) -> str | None:
        """The id by which an answer must name this item."""
        return self.call_id or self.id

    @property
    def answered_id(self) -> str | None:
        """The id by which this item names the item that it answers. None if this item is not an answer."""
        return (self.call_id or self.approval_request_id or self.id) if is_answer(self.type) else None

    @property
    def as_answer(self) -> Mapping[str, Any] | None:
        """The form in which the client sends this answer again.

        None if the item answers neither a call nor an approval request.
        """
        if self.type == "function_call_output" and self.call_id and isinstance(self.output, str):
            return call_output(self.call_id, self.output)
        if self.type == "mcp_approval_response" and self.approval_request_id and isinstance(self.approve, bool):
            given = {"approve": self.approve, **({"reason": self.reason} if self.reason else {})}
            return {"type": self.type, "approval_request_id": self.approval_request_id, **given}
        return None

    @property
    def closing(self) -> Mapping[str, Any] | None:
        """An answer that closes this item. None if the item needs no answer, or has no id."""
        return None if self.asked_id is None else closing_item(self.type, self.asked_id)

    def to_call(self) -> objects.ToolCall | None:
        """Return this item as a tool call of the library. Return None if the library cannot answer the item."""
        if self.asked_id is None or not (is_function_call(self.type) or is_approval(self.type)):
            return None
        return objects.ToolCall(
            id=self.asked_id,
            name=self.name or "",
            arguments=arguments_of(self.arguments),
            by_server=is_approval(self.type),
        )

    @property
    def thoughts(self) -> list[str]:
        """The texts of a summary of the model's reasoning."""
        parts = self.summary if isinstance(self.summary, list) else []
        return [text for part in parts if (text := lenient_text(lenient_mapping(part).get("text")))]

    def to_message(self, run_id: str | None = None, assistant_id: str | None = None) -> objects.Message:
        """Return this item as a message of the library, with the ids of its run and assistant if these are given."""
        return objects.Message(
            id=self.id or "",
            role="assistant" if self.type == _IMAGE else self.role or "",
            content=text_of(self.content),
            run_id=run_id,
            assistant_id=assistant_id,
            refusal=refusal_of(self.content),
            parts=self._parts(),
        )

    def _parts(self) -> tuple[objects.Part, ...]:
        if self.type == _IMAGE:
            return image_of(self.result)
        return sent_parts_of(self.content) if self.role == "user" else parts_of(self.content)


def hosted_tools_of(items: Sequence[Item]) -> tuple[objects.HostedTool, ...]:
    """Return the ended uses of the server's own tools among the items of a response."""
    return tuple(
        objects.HostedTool(kind=_HOSTED[item.type], id=item.id, details=_details(item.whole))
        for item in items
        if item.type in _HOSTED and item.id and item.status not in _UNFINISHED
    )


def _details(item: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in item.items() if name not in _NO_DETAILS})


def calls_of(items: Sequence[Item]) -> tuple[objects.ToolCall, ...]:
    """Return the tool calls among items."""
    return tuple(call for item in items if (call := item.to_call()) is not None)


def asking(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the items that the client must answer."""
    return tuple(item for item in items if item.closing is not None)


def are_items_oldest_first(items: Sequence[Item]) -> bool | None:
    """Return whether these items are listed oldest first. Return None if the items do not show it.

    An output is newer than its call, if only one call has the id.
    """
    times = Counter(item.asked_id for item in asking(items))
    places = {
        item.asked_id: place
        for place, item in enumerate(items)
        if item.closing is not None and times[item.asked_id] == 1
    }
    return next((places[item.answered_id] < n for n, item in enumerate(items) if item.answered_id in places), None)


def messages_of(
    items: Iterable[Item], run_id: str | None = None, assistant_id: str | None = None
) -> tuple[objects.Message, ...]:
    """Return the messages among items, oldest first. An answer contains the summary of the reasoning that led to it."""
    found, thoughts = [], list[str]()
    for item in items:
        if item.type == _REASONING:
            thoughts += item.thoughts
        elif item.is_message:
            message = item.to_message(run_id, assistant_id)
            if item.type != _IMAGE:
                is_led = thoughts and message.role == "assistant"
                message = attrs.evolve(message, reasoning="\n\n".join(thoughts)) if is_led else message
                thoughts.clear()
            found.append(message)
        elif is_answer(item.type):
            # The reasoning before a tool call led to the call.
            thoughts.clear()
    return tuple(found)


def answers_of(items: Sequence[Item], run_id: str | None, assistant_id: str | None) -> tuple[objects.Message, ...]:
    """Return the assistant's messages among items, oldest first."""
    return tuple(each for each in messages_of(items, run_id, assistant_id) if each.id and each.role == "assistant")


def _items(value: Any) -> tuple[Item, ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        return ()
    return tuple(converter.structure({**item, "whole": item}, Item) for item in value if isinstance(item, dict))


def _conversation_id(value: Any) -> str | None:
    """Return the id of a response's conversation. Some servers send the id alone instead of an object."""
    return lenient_id(value.get("id") if isinstance(value, dict) else value)


@attrs.frozen(kw_only=True)
class Response:
    id: str = attrs.field(default=None, converter=required_id)
    status: Any = None
    conversation: str | None = attrs.field(default=None, converter=_conversation_id)
    error: Any = None
    incomplete_details: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    output: tuple[Item, ...] = attrs.field(default=(), converter=_items)
    usage: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)
    metadata: Mapping[str, Any] = attrs.field(default=None, converter=lenient_mapping)

    def to_run(self, run_id: str | None = None) -> objects.Run:
        """Return the run of this response, as a `Run` of the library.

        `run_id` is the id of the response's run, if the caller knows it.
        """
        run_id = run_id or lenient_id(self.metadata.get(RUN)) or self.id
        outcome = run_outcome(
            lenient_text(self.status) or self._unsaid_status,
            known=_STATUSES,
            error=self.error,
            incomplete_details=self.incomplete_details,
        )
        asked = asking(self.output) if outcome.status is RunStatus.COMPLETED else ()
        status = RunStatus.NEEDS_TOOLS if asked else outcome.status
        assistant_id = lenient_text(self.metadata.get(ASSISTANT))
        return objects.Run(
            id=run_id,
            status=status,
            assistant_id=assistant_id,
            tool_calls=calls_of(asked),
            unsupported=describe([item.type for item in asked]),
            code=outcome.code,
            message=outcome.message,
            usage=self.usage_so_far,
            key=lenient_text(self.metadata.get(METADATA_KEY)),
            handle=self.id,
            hosted_tools=hosted_tools_of(self.output),
            messages=answers_of(self.output, run_id, assistant_id) if outcome.status is RunStatus.COMPLETED else (),
        )

    @property
    def _unsaid_status(self) -> str:
        if self.error or self.incomplete_details:
            return "failed"
        return "completed" if self.output else "queued"

    @property
    def usage_so_far(self) -> objects.Usage:
        """The tokens of the run up to the end of this response."""
        texts = self._usage_before()
        before = [int(text) for text in texts] if all(map(_COUNT.fullmatch, texts)) else []
        # An earlier version of the library wrote only three counts.
        prompt, completion, total, cached, reasoning = [*before, 0, 0, 0, 0, 0][:5]
        here = [lenient_count(self.usage.get(name)) for name in ("input_tokens", "output_tokens", "total_tokens")]
        details = [lenient_mapping(self.usage.get(name)) for name in ("input_tokens_details", "output_tokens_details")]
        return objects.Usage(
            prompt_tokens=prompt + here[0],
            completion_tokens=completion + here[1],
            total_tokens=total + (here[2] or here[0] + here[1]),
            cached_tokens=cached + lenient_count(details[0].get("cached_tokens")),
            reasoning_tokens=reasoning + lenient_count(details[1].get("reasoning_tokens")),
        )

    def _usage_before(self) -> list[str]:
        counts = (lenient_text(self.metadata.get(USAGE)) or "").split("/")
        return counts if len(counts) in (3, 5) else []


def usage_text(usage: objects.Usage) -> str:
    """Return the token counts as the text for the metadata entry `USAGE`."""
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    details = (usage.cached_tokens, usage.reasoning_tokens)
    return "/".join(map(str, (*counts, *details) if any(details) else counts))


@attrs.frozen(kw_only=True)
class ItemPage(Page):
    data: list[Item]


@attrs.frozen(kw_only=True)
class Added:
    """The items that the server has added to a conversation, in order. Some servers leave out the ids of the items."""

    data: tuple[Item, ...] = attrs.field(default=(), converter=_items)


converter: MsgspecJsonConverter = make_wire_converter((Conversation, File, Item, Response, Added), {ItemPage: Item})
