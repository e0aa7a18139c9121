"""Checks the items in the context of a response, and translates these items into chat messages."""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from gpt_agent_fsm.local.http.error_responses import bad_request
from gpt_agent_fsm.local.responses.items import (
    APPROVAL_RESPONSE,
    CALL,
    CALL_OUTPUT,
    chat_parts,
    key_of_answer,
    key_of_ask,
    text_of,
)
from gpt_agent_fsm.local.shared.parts import chat_call, chat_message, decision_message
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def check_tool_calls(context: Iterable[Doc]) -> None:
    """Raise the 400 unless each call and each approval request has exactly one answer.

    An answer to an unknown call or approval request raises the 400, too.
    """
    answered: dict[str, bool] = {}
    asks: dict[str, Doc] = {}
    for item in context:
        if (asked := key_of_ask(item)) is not None:
            answered[asked], asks[asked] = False, item
        elif (key := key_of_answer(item)) is not None:
            if key not in answered:
                raise _nothing_asked(item, key)
            if answered[key]:
                raise _second_answer(item, key, "input")
            answered[key] = True
    for key, has_answer in answered.items():
        if not has_answer:
            raise _no_answer(asks[key], key)


def check_outputs_are_new(present: Iterable[Doc], added: Iterable[Doc]) -> None:
    """Raise the 400 if an added item answers a call or approval request that already has an answer.

    The first answer may be in the conversation, or among the added items.
    """
    answered = {key_of_answer(item) for item in present}
    for item in added:
        key = key_of_answer(item)
        if key is not None:
            if key in answered:
                raise _second_answer(item, key, "items")
            answered.add(key)


def _nothing_asked(item: Doc, key: str) -> Exception:
    if item["type"] == CALL_OUTPUT:
        return bad_request(f"No tool call found for function call output with call_id {key}.", "input")
    return bad_request(f"No approval request found for MCP approval response with approval_request_id {key}.", "input")


def _no_answer(item: Doc, key: str) -> Exception:
    if item["type"] == CALL:
        return bad_request(f"No tool output found for function call {key}.", "input")
    return bad_request(f"No approval response found for MCP approval request {key}.", "input")


def _second_answer(item: Doc, key: str, param: str) -> Exception:
    if item["type"] == CALL_OUTPUT:
        return bad_request(f"Duplicate tool output found for function call {key}.", param)
    return bad_request(f"Duplicate approval response found for MCP approval request {key}.", param)


def last_user_message(context: Sequence[Doc]) -> Doc | None:
    """Return the user's last message, or None."""
    return next((item for item in reversed(context) if _is_from(item, "user")), None)


def instructions(given: str | None, context: Iterable[Doc]) -> str:
    """Return the system prompt for a response.

    It consists of the request's instructions, followed by the messages of the system and the developer.
    """
    texts = [text_of(item["content"]) for item in context if _is_from(item, "system", "developer")]
    return "\n".join(text for text in (given, *texts) if text)


def chat(tx: Transaction, context: Sequence[Doc]) -> list[Doc]:
    """Return the items of a context as chat messages. Approval requests become tool calls.

    Consecutive calls and the text before them become one message, because one turn of the model made them. The answers
    to these calls follow directly, even if other items stand between a call and its answer in the context. Chat
    completions requires this order.
    """
    answers: defaultdict[str, deque[Doc]] = defaultdict(deque)
    for item in context:
        if (key := key_of_answer(item)) is not None:
            answers[key].append(_answer(tx, item, key))
    messages: list[Doc] = []
    for kind, group in itertools.groupby(context, key=_kind):
        if kind == "message":
            messages += [_message(tx, item) for item in group if _is_from(item, "user", "assistant")]
        elif kind == "ask":
            calls = [_call(item) for item in group]
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            messages[-1]["tool_calls"] = calls
            messages += [answers[call["id"]].popleft() for call in calls]
    return messages


def approvals(context: Iterable[Doc]) -> dict[str, bool]:
    """Return the decisions about approval requests, by the id of the request.

    A decision is True if the call was approved, and False if it was denied.
    """
    return {item["approval_request_id"]: item["approve"] for item in context if item["type"] == APPROVAL_RESPONSE}


def _kind(item: Doc) -> str:
    return "message" if item["type"] == "message" else "answer" if key_of_ask(item) is None else "ask"


def _message(tx: Transaction, item: Doc) -> Doc:
    return chat_message(item["role"], text_of(item["content"]), chat_parts(tx, item["content"]))


def _call(item: Doc) -> Doc:
    return chat_call(str(key_of_ask(item)), item["name"], item["arguments"])


def _answer(tx: Transaction, item: Doc, key: str) -> Doc:
    if item["type"] == APPROVAL_RESPONSE:
        return decision_message(key, item["approve"], item["reason"])
    output = chat_message("tool", text_of(item["output"]), chat_parts(tx, item["output"]))
    return output | {"tool_call_id": key}


def _is_from(item: Doc, *roles: str) -> bool:
    return item["type"] == "message" and item["role"] in roles
