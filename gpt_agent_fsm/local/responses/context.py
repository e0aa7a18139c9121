"""The context of a response: the rules for its items, and their translation into chat messages for a model."""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from gpt_agent_fsm.local.http.error_responses import bad_request
from gpt_agent_fsm.local.responses.items import chat_parts, text_of
from gpt_agent_fsm.local.shared.parts import chat_message
from gpt_agent_fsm.local.shared.storage import Doc


def check_tool_calls(context: Iterable[Doc]) -> None:
    """Raise the 400 for a tool call without an output, an output without its call before it, or a second output."""
    answered: dict[str, bool] = {}
    for item in context:
        if item["type"] == "function_call":
            answered[item["call_id"]] = False
        elif item["type"] == "function_call_output":
            call_id = item["call_id"]
            if call_id not in answered:
                message = f"No tool call found for function call output with call_id {call_id}."
                raise bad_request(message, "input")
            if answered[call_id]:
                raise _second_output(call_id, "input")
            answered[call_id] = True
    for call_id, has_output in answered.items():
        if not has_output:
            raise bad_request(f"No tool output found for function call {call_id}.", "input")


def check_outputs_are_new(present: Iterable[Doc], added: Iterable[Doc]) -> None:
    """Raise the 400 for a second tool output of a call, in the conversation or among the added items."""
    answered = {item["call_id"] for item in present if item["type"] == "function_call_output"}
    for item in added:
        if item["type"] == "function_call_output":
            if item["call_id"] in answered:
                raise _second_output(item["call_id"], "items")
            answered.add(item["call_id"])


def _second_output(call_id: str, param: str) -> Exception:
    return bad_request(f"Duplicate tool output found for function call {call_id}.", param)


def last_said(context: Sequence[Doc]) -> Doc | None:
    """Return the user's last message."""
    return next((item for item in reversed(context) if _is_from(item, "user")), None)


def instructions(given: str | None, context: Iterable[Doc]) -> str:
    """Return the system prompt: the instructions of the request, then the system's and developer's messages."""
    said = [text_of(item["content"]) for item in context if _is_from(item, "system", "developer")]
    return "\n".join(text for text in (given, *said) if text)


def chat(context: Sequence[Doc]) -> list[Doc]:
    """Return the messages, tool calls and outputs as chat messages.

    Consecutive calls and the text before them are one message, because one turn of the model made them. Its outputs
    come next, as chat completions require, even if other items stand between a call and its output.
    """
    outputs: defaultdict[str, deque[Doc]] = defaultdict(deque)
    for item in context:
        if item["type"] == "function_call_output":
            outputs[item["call_id"]].append(_output(item))
    messages: list[Doc] = []
    for kind, group in itertools.groupby(context, key=lambda item: item["type"]):
        if kind == "message":
            messages += [_message(item) for item in group if _is_from(item, "user", "assistant")]
        elif kind == "function_call":
            calls = [_call(item) for item in group]
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            messages[-1]["tool_calls"] = calls
            messages += [outputs[call["id"]].popleft() for call in calls]
    return messages


def _message(item: Doc) -> Doc:
    return chat_message(item["role"], text_of(item["content"]), chat_parts(item["content"]))


def _call(item: Doc) -> Doc:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _output(item: Doc) -> Doc:
    output = chat_message("tool", text_of(item["output"]), chat_parts(item["output"]))
    return output | {"tool_call_id": item["call_id"]}


def _is_from(item: Doc, *roles: str) -> bool:
    return item["type"] == "message" and item["role"] in roles
