"""Makes the events of all items of a response except messages. Each item is sent whole, at the end of the turn."""

from collections.abc import Iterator

from gpt_agent_fsm.local.responses import hosted, items
from gpt_agent_fsm.local.shared.storage import Doc

ItemEvent = tuple[str, Doc]
"""The name of an event, and its data without the fields that all events have."""

_BUSY = {
    "web_search_call": "searching",
    "file_search_call": "searching",
    "code_interpreter_call": "interpreting",
    "image_generation_call": "generating",
}
"""The end of the name of the event that is sent while a hosted tool runs, by the type of the tool's item."""

_NOT_YET = {"outputs": None, "results": None, "result": None, "output": None, "error": None}
"""The fields of a hosted tool's item that are empty while the tool runs."""


def of_item(index: int, item: Doc) -> Iterator[ItemEvent]:
    """Yield the events of the item with this index in the output."""
    place = {"item_id": item["id"], "output_index": index}
    within: Iterator[ItemEvent] = iter(())
    begun = item
    if item["type"] == items.CALL:
        begun, within = item | {"arguments": "", "status": "in_progress"}, _call(place, item)
    elif item["type"] == hosted.REASONING:
        begun, within = item | {"summary": []}, _reasoning(place, item)
    elif item["type"] in hosted.KINDS:
        empty = {name: value for name, value in _NOT_YET.items() if name in item}
        begun, within = item | empty | {"status": "in_progress"}, _tool(place, item)
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield from within
    yield "response.output_item.done", {"output_index": index, "item": item}


def _call(place: Doc, item: Doc) -> Iterator[ItemEvent]:
    arguments = item["arguments"]
    yield "response.function_call_arguments.delta", place | {"delta": arguments}
    yield "response.function_call_arguments.done", place | {"name": item["name"], "arguments": arguments}


def _reasoning(place: Doc, item: Doc) -> Iterator[ItemEvent]:
    for index, part in enumerate(item["summary"]):
        there = place | {"summary_index": index}
        yield "response.reasoning_summary_part.added", there | {"part": part | {"text": ""}}
        yield "response.reasoning_summary_text.delta", there | {"delta": part["text"]}
        yield "response.reasoning_summary_text.done", there | {"text": part["text"]}
        yield "response.reasoning_summary_part.done", there | {"part": part}


def _tool(place: Doc, item: Doc) -> Iterator[ItemEvent]:
    kind = item["type"]
    yield f"response.{kind}.in_progress", place
    if kind == "mcp_call":
        yield "response.mcp_call_arguments.delta", place | {"delta": item["arguments"]}
        yield "response.mcp_call_arguments.done", place | {"arguments": item["arguments"]}
    if kind == "code_interpreter_call":
        yield "response.code_interpreter_call_code.delta", place | {"delta": item["code"]}
        yield "response.code_interpreter_call_code.done", place | {"code": item["code"]}
    if kind in _BUSY:
        yield f"response.{kind}.{_BUSY[kind]}", place
    yield f"response.{kind}.{item['status']}", place
