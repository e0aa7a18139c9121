"""The objects of the Assistants API: assistants, threads, messages, runs and steps, with all fields clients expect."""

from collections.abc import Sequence
from typing import Any

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.assistants import inputs
from gpt_agent_fsm.local.assistants.options import (
    ASSISTANT_INSTEAD,
    ASSISTANT_NAMES,
    RUN,
    RUN_INSTEAD,
    RUN_NAMES,
    SAMPLING,
    check_tool_choice,
)
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ToolCall
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.options import EXTENSIONS, check_names, chosen, extensions
from gpt_agent_fsm.local.shared.parts import chat_call
from gpt_agent_fsm.local.shared.storage import Doc


def assistant(body: Doc, existing: Doc | None = None) -> Doc:
    """Return a new assistant with the fields of the body.

    If `existing` is given, return that assistant with these changes.
    """
    check_names(body, ASSISTANT_NAMES, ASSISTANT_INSTEAD)
    if existing is None:
        existing = {
            "id": ids.new_id("asst"),
            "object": "assistant",
            "created_at": ids.now(),
            "name": None,
            "description": None,
            "model": validation.required_text(body, "model"),
            "instructions": None,
            "tools": [],
            "tool_resources": {},
            "metadata": {},
        } | chosen({}, SAMPLING, {})
    changed: dict[str, Any] = {
        "name": validation.text(body, "name", longest=256),
        "description": validation.text(body, "description", longest=512),
        "instructions": validation.text(body, "instructions"),
        "tools": inputs.tools(body),
        "tool_resources": inputs.tool_resources(body),
        "metadata": validation.metadata(body),
        **chosen(body, SAMPLING, {}),
        **dict.fromkeys(EXTENSIONS),
        **extensions(body),
    }
    if body.get("model") is not None:
        changed["model"] = validation.required_text(body, "model")
    # A field that the body leaves out keeps its value; a field that the body sets to null becomes empty.
    empty: Doc = {"tools": [], "tool_resources": {}}
    sent = {name: value for name, value in changed.items() if name in body}
    return existing | {name: empty.get(name) if value is None else value for name, value in sent.items()}


def unknown_assistant(assistant_id: str) -> Doc:
    """Return the assistant for an id that was never created. It has no instructions and no tools."""
    return assistant({"model": "local-model"}) | {"id": assistant_id}


def thread(body: Doc) -> Doc:
    """Return a new thread without its messages, which are separate objects."""
    return {
        "id": ids.new_id("thread"),
        "object": "thread",
        "created_at": ids.now(),
        "metadata": validation.metadata(body),
        "tool_resources": inputs.tool_resources(body) or {},
    }


def message(thread_id: str, body: Doc, *, prefix: str = "") -> Doc:
    """Return the message that a client posts.

    `prefix` is the place of the message in the body, such as `messages[0].`.
    """
    role = inputs.role(body, prefix=prefix)
    content = inputs.content(body, prefix=prefix)
    return _message(thread_id, role, content) | {
        "attachments": inputs.attachments(body, prefix=prefix),
        "metadata": validation.metadata(body, prefix=prefix),
    }


def answer(run: Doc, turn: LiveTurn, content: list[Doc], incomplete: str | None = None) -> Doc:
    """Return the message of a turn of a run. `incomplete` is the reason if the model did not finish the text."""
    message = _message(run["thread_id"], "assistant", content) | {
        "id": turn.message_id,
        "assistant_id": run["assistant_id"],
        "run_id": run["id"],
    }
    message["created_at"] = turn.first_chunk_at or message["created_at"]
    if incomplete is None:
        return message
    reason = "max_tokens" if incomplete == "max_completion_tokens" else incomplete
    return cut_off(message, reason)


def cut_off(message: Doc, reason: str) -> Doc:
    """Return the message with the status `incomplete`, and with the reason why its text is not finished."""
    ended = {"status": "incomplete", "completed_at": None, "incomplete_at": ids.now()}
    return message | ended | {"incomplete_details": {"reason": reason}}


def message_text_part(text: str, annotations: Sequence[Doc] = ()) -> Doc:
    """Return a text as a part of a message's content."""
    return {"type": "text", "text": {"value": text, "annotations": [*annotations]}}


def _message(thread_id: str, role: str, content: list[Doc]) -> Doc:
    created_at = ids.now()
    return {
        "id": ids.new_id("msg"),
        "object": "thread.message",
        "created_at": created_at,
        "thread_id": thread_id,
        "status": "completed",
        "completed_at": created_at,
        "incomplete_at": None,
        "incomplete_details": None,
        "role": role,
        "content": content,
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


def run(thread_id: str, assistant: Doc, body: Doc, lifetime: float) -> Doc:
    """Return a queued run of the assistant. Options of the body override those of the assistant.

    The run expires after `lifetime` seconds.
    """
    check_names(body, RUN_NAMES, RUN_INSTEAD)
    instructions = validation.text(body, "instructions")
    if instructions is None:
        instructions = assistant["instructions"] or ""
    additional = validation.text(body, "additional_instructions")
    tools = inputs.tools(body)
    created_at = ids.now()
    made = {
        "id": ids.new_id("run"),
        "object": "thread.run",
        "created_at": created_at,
        "thread_id": thread_id,
        "assistant_id": assistant["id"],
        "status": "queued",
        "started_at": None,
        "expires_at": int(created_at + lifetime),
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "incomplete_details": None,
        "usage": None,
        "model": validation.text(body, "model") or assistant["model"],
        "instructions": "\n".join(part for part in (instructions, additional) if part),
        "tools": assistant["tools"] if tools is None else tools,
        "metadata": validation.metadata(body),
        **chosen(body, RUN, {name: assistant.get(name, SAMPLING[name][0]) for name in SAMPLING}),
        **extensions(assistant),
        **extensions(body),
    }
    check_tool_choice(made)
    return made


OUTPUTS, APPROVALS = "submit_tool_outputs", "submit_tool_approval"
"""The two types of `required_action`. A run waits either for outputs of function calls, or for approvals of MCP calls.
The client does not make MCP calls itself. Azure's agents have such approvals."""


def call(asked: ToolCall) -> Doc:
    """Return a tool call, or a request for an approval, in the form that `required_action` has.

    The arguments of the call must be a text, not an object.
    """
    call_id = ids.new_id("call")
    if isinstance(asked, ApprovalRequest):
        called = {"name": asked.name, "arguments": asked.arguments, "server_label": asked.server_label}
        return {"id": call_id, "type": "mcp"} | called
    return chat_call(call_id, asked.name, str(asked.arguments))


def as_asked(call: Doc) -> Doc:
    """Return a call of a step in the form that `required_action` has: without output and decision."""
    if call["type"] == "mcp":
        return {name: value for name, value in call.items() if name not in ("approved", "output")}
    return chat_call(call["id"], call["function"]["name"], call["function"]["arguments"])


def required_action(calls: list[Doc]) -> Doc:
    """Return the `required_action` of a run that waits for the answers to these calls. All calls are of one kind."""
    kind = APPROVALS if calls[0]["type"] == "mcp" else OUTPUTS
    return {"type": kind, kind: {"tool_calls": calls}}


def message_step(run: Doc, turn: LiveTurn, usage: Doc) -> Doc:
    """Return the step in which a run created the message of a turn."""
    details = {"type": "message_creation", "message_creation": {"message_id": turn.message_id}}
    step = _step(run, details) | {"status": "completed", "completed_at": ids.now(), "usage": usage, "id": turn.step_id}
    return step | {"created_at": turn.first_chunk_at or step["created_at"]}


def tool_step(run: Doc, calls: list[Doc], usage: Doc) -> Doc:
    """Return the step in which a run waits for answers. The `calls` have the form that `required_action` has."""
    waiting = [with_answer(call, None) for call in calls]
    return _step(run, {"type": "tool_calls", "tool_calls": waiting}) | {"usage": usage}


def hosted_step(run: Doc, calls: list[Doc], usage: Doc) -> Doc:
    """Return the step in which the service itself ran tools. `hosted.calls` returns its `calls`."""
    step = _step(run, {"type": "tool_calls", "tool_calls": calls})
    return step | {"status": "completed", "completed_at": ids.now(), "usage": usage}


def with_answer(call: Doc, answer: str | bool | None) -> Doc:
    """Return a call of a step with its output, or with the decision about it. `answer` is None while there is none."""
    if call["type"] == "mcp":
        return call | {"approved": answer, "output": None}
    return call | {"function": call["function"] | {"output": answer}}


def _step(run: Doc, details: Doc) -> Doc:
    return {
        "id": ids.new_id("step"),
        "object": "thread.run.step",
        "created_at": ids.now(),
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": details["type"],
        "status": "in_progress",
        "cancelled_at": None,
        "completed_at": None,
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": details,
        "metadata": {},
        "usage": None,
    }
