"""Builds the chat messages that a model gets for a run: the thread's messages, and the tool calls of all its runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gpt_agent_fsm.local.assistants import hosted, messages, objects
from gpt_agent_fsm.local.shared.parts import chat_call, decision_message
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def chat(tx: Transaction, history: Iterable[Doc], steps: Iterable[Doc], run: Doc) -> list[Doc]:
    """Return the chat messages for a turn of a run.

    `history` contains the messages and runs of the thread, and `steps` contains the steps of these runs. Both are in
    order of creation. If the option `last_messages` of the run is a number, only that many of the messages from
    before the run are included, and the calls and outputs before the first of these messages are left out. The run's
    own messages, calls and outputs are always included.
    """
    history = list(history)
    steps_of_run: defaultdict[str, list[Doc]] = defaultdict(list)
    for step in steps:
        steps_of_run[step["run_id"]].append(step)
    by_id = {each["id"]: each for each in history if each["object"] == "thread.message"}
    past: list[Doc] = []
    for each in history:
        if each["object"] == "thread.run":
            if each["id"] != run["id"]:
                past += _turns(tx, steps_of_run[each["id"]], by_id)
        elif each["run_id"] is None:
            past.append(messages.as_chat(tx, each))
    return _last(past, run["truncation_strategy"]["last_messages"]) + _turns(tx, steps_of_run[run["id"]], by_id)


def _turns(tx: Transaction, steps: Iterable[Doc], by_id: Mapping[str, Doc]) -> list[Doc]:
    """Return a run's texts, and its tool calls with their outputs. A text and the calls after it are one chat message.

    If the run ended before its calls got outputs, the calls are left out, because chat completions has no form for
    calls without outputs. The calls of tools that the service has run itself are left out, too.
    """
    turns: list[Doc] = []
    for step in steps:
        details = step["step_details"]
        if details["type"] == "message_creation":
            # The client may have deleted the message.
            message = by_id.get(details["message_creation"]["message_id"])
            turns += [messages.as_chat(tx, message)] if message else []
        elif step["status"] == "completed" and not hosted.is_hosted(step):
            if not turns or turns[-1]["role"] != "assistant":
                turns.append({"role": "assistant", "content": ""})
            turns[-1]["tool_calls"] = [_call(call) for call in details["tool_calls"]]
            turns += [_output(call) for call in details["tool_calls"]]
    return turns


def approvals(steps: Iterable[Doc]) -> dict[str, bool]:
    """Return the decisions about requests for approvals, by the id of the call.

    A decision is True if the call was approved, and False if it was denied.
    """
    calls = [call for step in steps for call in step["step_details"].get("tool_calls", ())]
    return {call["id"]: call["approved"] for call in calls if call.get("approved") is not None}


def _call(call: Doc) -> Doc:
    return chat_call(call["id"], call["name"], call["arguments"]) if call["type"] == "mcp" else objects.as_asked(call)


def _output(call: Doc) -> Doc:
    if call["type"] == "mcp":
        return decision_message(call["id"], call["approved"])
    return {"role": "tool", "tool_call_id": call["id"], "content": call["function"]["output"] or ""}


def _last(past: list[Doc], number: int | None) -> list[Doc]:
    """Return the last `number` messages, with all calls and outputs after the first of them.

    If `number` is None, return all messages. Outputs, and chat messages that contain only calls, are not counted.
    """
    texts = [index for index, message in enumerate(past) if message["role"] == "user" or message["content"]]
    texts = [index for index in texts if past[index]["role"] != "tool"]
    return past if number is None or len(texts) <= number else past[texts[-number] :]
