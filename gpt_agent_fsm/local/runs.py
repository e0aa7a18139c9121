"""The life of a run on the server: what each step of it does to the stored objects.

    queued -> in_progress -> requires_action -> queued -> ... -> completed | failed
    any of these -> cancelling -> cancelled, and any of these -> expired

Every function works within one transaction, and none of them calls a model: that is what `workers` does in between.
A function that finds the run in another state than it expects changes nothing: somebody else was faster.
"""

import math
import threading
import time
from collections.abc import Sequence

from gpt_agent_fsm.local import fields, objects
from gpt_agent_fsm.local.models import ModelError, ModelRequest, Outcome, ToolCall, estimated_usage
from gpt_agent_fsm.local.problems import bad_request, missing, not_found
from gpt_agent_fsm.local.storage import Doc, Transaction

ACTIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""The states in which a run locks its thread."""


def active_run(tx: Transaction, thread_id: str) -> str | None:
    """Return the id of the run that locks the thread, if any: only the latest one can be active."""
    run = tx.latest("run", thread_id)
    return run["id"] if run is not None and run["status"] in ACTIVE else None


def create(tx: Transaction, thread_id: str, body: Doc, lifetime: float) -> Doc:
    """Create a queued run on an existing thread; `lifetime` is in seconds. Raises `ApiProblem`."""
    assistant_id = fields.required_text(body, "assistant_id")
    assistant = tx.find("assistant", assistant_id)
    if assistant is None:
        # A convenience: an id that was never created works as an assistant without instructions and tools.
        if not assistant_id.startswith("asst_") or tx.was_there(assistant_id):
            raise not_found("assistant", assistant_id)
        assistant = objects.unknown_assistant(assistant_id)
    run = objects.run(thread_id, assistant, body, lifetime)
    active = active_run(tx, thread_id)
    if active is not None:
        raise bad_request(f"Thread {thread_id} already has an active run {active}.")
    for index, message in enumerate(fields.objects(body, "additional_messages") or ()):
        prefix = f"additional_messages[{index}]."
        tx.add("message", objects.message(thread_id, message, prefix=prefix), parent=thread_id)
    tx.add("run", run, parent=thread_id, due=time.time() + lifetime)
    return run


def start(tx: Transaction, run_id: str, cancelled: threading.Event) -> ModelRequest | None:
    """Take a queued run up: return what to ask the model, or `None` when the run is not queued any more."""
    run = tx.get("run", run_id)
    if run is None or run["status"] != "queued":
        return None
    thread_id = run["thread_id"]
    run["status"] = "in_progress"
    run["started_at"] = run["started_at"] or objects.now()
    tx.save(run)
    messages = tx.children("message", thread_id)
    said = [{"role": message["role"], "content": objects.text_of(message)} for message in messages]
    turns = [turn for step in tx.children("step", run_id) for turn in _turns(step)]
    asked = next((message["id"] for message in reversed(messages) if message["role"] == "user"), thread_id)
    return ModelRequest(
        run["instructions"],
        said + turns,
        run["tools"],
        run["model"],
        attempt=tx.count_after("run", thread_id, asked),
        cancelled=cancelled,
    )


def _turns(step: Doc) -> list[Doc]:
    """Return a step with tool outputs as chat messages: the calls, then one message for each output."""
    calls = step["step_details"]["tool_calls"]
    asked = [
        call | {"function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}}
        for call in calls
    ]
    answered = [
        {"role": "tool", "tool_call_id": call["id"], "content": call["function"]["output"] or ""} for call in calls
    ]
    return [{"role": "assistant", "content": "", "tool_calls": asked}, *answered]


def settle(tx: Transaction, run_id: str, request: ModelRequest, outcome: Outcome) -> None:
    """Go on with what came of asking the model, unless the run was cancelled, has expired or is gone."""
    run = tx.get("run", run_id)
    if run is None or run["status"] != "in_progress":
        return
    if isinstance(outcome, ModelError):
        fail(tx, run, outcome)
    elif isinstance(outcome, str):
        complete(tx, run, outcome, estimated_usage(request, outcome))
    else:
        require_action(tx, run, outcome, estimated_usage(request, outcome))


def complete(tx: Transaction, run: Doc, text: str, usage: Doc) -> None:
    """End a run with an answer: message, step and run in one go, so that nobody sees one without the others."""
    message = objects.answer(run, text)
    tx.add("message", message, parent=run["thread_id"], run=run["id"])
    steps = tx.children("step", run["id"])
    step = objects.message_step(run, message["id"], usage)
    tx.add("step", step, parent=run["id"])
    total = {name: sum(each["usage"][name] for each in [*steps, step]) for name in usage}
    tx.settle(run | {"status": "completed", "completed_at": objects.now(), "expires_at": None, "usage": total})


def require_action(tx: Transaction, run: Doc, calls: Sequence[ToolCall], usage: Doc) -> None:
    """Let a run wait for the outputs of these tool calls, whose arguments are text already."""
    asked = [
        {
            "id": objects.new_id("call"),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    tx.add("step", objects.tool_step(run, asked, usage), parent=run["id"])
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": asked}}
    tx.save(run | {"status": "requires_action", "required_action": action})


def fail(tx: Transaction, run: Doc, error: ModelError) -> None:
    """End a run with an error."""
    last_error = {"code": error.code, "message": error.message}
    _end(tx, run, "failed", failed_at=objects.now(), last_error=last_error, expires_at=None)


def submit(tx: Transaction, run: Doc, body: Doc) -> Doc:
    """Take the outputs of all tool calls a run waits for, and queue it for its next turn. Raises `ApiProblem`."""
    outputs = fields.objects(body, "tool_outputs")
    if outputs is None:
        raise missing("tool_outputs")
    given = {}
    for index, output in enumerate(outputs):
        prefix = f"tool_outputs[{index}]."
        call_id = fields.required_text(output, "tool_call_id", prefix=prefix)
        given[call_id] = fields.text(output, "output", prefix=prefix, longest=1_048_576) or ""
    if run["status"] != "requires_action":
        raise bad_request(f'Runs in status "{run["status"]}" do not accept tool outputs.')
    asked = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
    if len(outputs) != len(asked) or set(given) != set(asked):
        got = [output["tool_call_id"] for output in outputs]
        raise bad_request(f"Expected tool outputs for call_ids {asked}, got {got}", "tool_outputs")
    # A run that waits has a step that says what for: the last one.
    step = tx.children("step", run["id"])[-1]
    for call in step["step_details"]["tool_calls"]:
        call["function"]["output"] = given[call["id"]]
    tx.save(step | {"status": "completed", "completed_at": objects.now()})
    run |= {"status": "queued", "required_action": None}
    tx.save(run)
    return run


def cancel(tx: Transaction, run: Doc) -> Doc:
    """Begin to cancel a run; `cancelled` ends it. Raises `ApiProblem` when there is nothing to cancel."""
    if run["status"] not in ACTIVE or run["status"] == "cancelling":
        raise bad_request(f"Cannot cancel run with status '{run['status']}'.")
    run |= {"status": "cancelling", "required_action": None}
    tx.save(run)
    return run


def cancelled(tx: Transaction, run_id: str) -> None:
    """End a run that is being cancelled."""
    run = tx.get("run", run_id)
    if run is not None and run["status"] == "cancelling":
        _end(tx, run, "cancelled", cancelled_at=objects.now(), expires_at=None)


def expire(tx: Transaction) -> list[str]:
    """End all runs whose time is over, whatever they were doing, and return their ids."""
    overdue = tx.overdue("run", time.time())
    for run in overdue:
        _end(tx, run, "expired")
    return [run["id"] for run in overdue]


def recover(tx: Transaction) -> list[Doc]:
    """Make the runs that a stopped server left behind ready to go on, and return those that are queued.

    A run that was with a model is queued again: the answer was lost, the question is still there.
    """
    expire(tx)
    unsettled = tx.overdue("run", math.inf)
    for run in unsettled:
        cancelled(tx, run["id"])
        if run["status"] == "in_progress":
            run["status"] = "queued"
            tx.save(run)
    return [run for run in unsettled if run["status"] == "queued"]


def _end(tx: Transaction, run: Doc, status: str, **changes: object) -> None:
    """End a run in another way than with an answer; a step that waits for outputs ends with it."""
    step = tx.latest("step", run["id"])
    if step is not None and step["status"] == "in_progress":
        tx.save(step | {"status": status, f"{status}_at": objects.now(), "last_error": changes.get("last_error")})
    tx.settle(run | {"status": status, "required_action": None, **changes})
