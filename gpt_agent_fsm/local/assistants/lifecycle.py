"""The changes of a run's status on the server, and their effects on the stored objects.

    queued -> in_progress -> requires_action -> queued -> ... -> completed | incomplete
    queued | in_progress -> failed
    queued | in_progress | requires_action -> cancelling -> cancelled
    queued | in_progress | requires_action | cancelling -> expired

Every function works within one transaction, and no function calls a model. The module `workers` calls the model between
two such transactions. If the run does not have the expected status, another request was faster, and the function
changes nothing.
"""

import math
import threading
import time
from collections.abc import Sequence

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.assistants import context, hosted, inputs, messages, objects, options
from gpt_agent_fsm.local.http.error_responses import bad_request, not_found
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ModelError, ModelRequest, Outcome, ToolCall
from gpt_agent_fsm.local.models.tokens import cut, usage
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Transaction

ACTIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""The statuses in which a run locks its thread."""

_NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
"""The usage of each step of a turn except the last. The last step has the usage of the whole turn."""


def active_run(tx: Transaction, thread_id: str) -> str | None:
    """Return the id of the run that locks the thread. Return None if no run locks it.

    Only the latest run can lock the thread.
    """
    run = tx.latest("run", thread_id)
    return run["id"] if run is not None and run["status"] in ACTIVE else None


def create(tx: Transaction, thread_id: str, body: Doc, lifetime: float) -> Doc:
    """Create a queued run on an existing thread. The run expires after `lifetime` seconds. Raises `ApiProblem`."""
    assistant_id = validation.required_text(body, "assistant_id")
    assistant = tx.find("assistant", assistant_id)
    if assistant is None:
        # A convenience: an id that no assistant ever had works as an assistant without instructions and tools.
        if not assistant_id.startswith("asst_"):
            raise not_found("assistant", assistant_id, "; the id of an assistant begins with asst_")
        if tx.was_there(assistant_id):
            raise not_found("assistant", assistant_id)
        assistant = objects.unknown_assistant(assistant_id)
    run = objects.run(thread_id, assistant, body, lifetime)
    active = active_run(tx, thread_id)
    if active is not None:
        raise bad_request(f"Thread {thread_id} already has an active run {active}.")
    for index, message in enumerate(validation.objects(body, "additional_messages") or ()):
        prefix = f"additional_messages[{index}]."
        tx.add("message", messages.posted(tx, thread_id, message, prefix=prefix), parent=thread_id)
    tx.add("run", run, parent=thread_id, due=time.time() + lifetime)
    return run


def start(tx: Transaction, run_id: str, cancelled: threading.Event) -> ModelRequest | None:
    """Start a queued run, and return the request for the model. Return None if the run is no longer queued."""
    run = tx.get("run", run_id)
    if run is None or run["status"] != "queued":
        return None
    thread_id = run["thread_id"]
    run["status"] = "in_progress"
    run["started_at"] = run["started_at"] or ids.now()
    tx.save(run)
    history = tx.history(thread_id)
    asked = next((each["id"] for each in reversed(history) if each.get("role") == "user"), thread_id)
    steps = tx.steps_of(thread_id)
    return ModelRequest(
        run["instructions"],
        context.chat(tx, history, steps, run),
        run["tools"],
        run["model"],
        attempt=tx.count_after("run", thread_id, asked),
        max_tokens=tokens_left(tx, run),
        approvals=context.approvals(steps),
        cancelled=cancelled,
        **options.for_model(run, is_first_turn=not any(step["run_id"] == run_id for step in steps)),
    )


def settle(tx: Transaction, run_id: str, turn: LiveTurn, request: ModelRequest, outcome: Outcome) -> bool:
    """Store the result of asking the model, and return True.

    If the run is not in progress, change nothing and return False.
    """
    run = tx.get("run", run_id)
    if run is None or run["status"] != "in_progress":
        return False
    if isinstance(outcome, ModelError):
        fail(tx, run, outcome)
        return True
    reply = cut(outcome, request.max_tokens)
    if len({isinstance(call, ApprovalRequest) for call in reply.calls}) > 1:
        reason = "A turn of a run may have tool calls or requests for approvals, but this one has both."
        fail(tx, run, ModelError("server_error", reason))
        return True
    used = usage(request, reply)
    if called := hosted.calls(reply):
        tx.add("step", objects.hosted_step(run, called, _NOTHING), parent=run["id"])
    if content := hosted.content(tx, reply):
        message = objects.answer(run, turn, content, reply.incomplete)
        say(tx, run, turn, message, _NOTHING if reply.calls else used)
    if reply.calls:
        require_action(tx, run, reply.calls, used)
    else:
        complete(tx, run, reply.incomplete)
    return True


def tokens_left(tx: Transaction, run: Doc) -> int | None:
    """Return how many tokens a run may still generate, at least 1. Return None if there is no limit."""
    limit = run["max_completion_tokens"]
    return None if limit is None else max(1, limit - _used(tx, run)["completion_tokens"])


def _used(tx: Transaction, run: Doc) -> dict[str, int]:
    steps = tx.children("step", run["id"])
    return {name: sum(step["usage"][name] for step in steps) for name in _NOTHING}


def say(tx: Transaction, run: Doc, turn: LiveTurn, message: Doc, used: dict[str, int]) -> None:
    """Add the message of one turn to the thread, and add the step that created the message to the run."""
    tx.add("message", message, parent=run["thread_id"], run=run["id"])
    tx.add("step", objects.message_step(run, turn, used), parent=run["id"])


def complete(tx: Transaction, run: Doc, incomplete: str | None) -> None:
    """End a run with success.

    The run's answer was added in the same transaction, so no client sees the end without the answer.
    """
    end = {"expires_at": None, "usage": _used(tx, run)}
    if incomplete is None:
        tx.settle(run | end | {"status": "completed", "completed_at": ids.now()})
    else:
        tx.settle(run | end | {"status": "incomplete", "incomplete_details": {"reason": incomplete}})


def require_action(tx: Transaction, run: Doc, calls: Sequence[ToolCall], used: dict[str, int]) -> None:
    """Let a run wait for the answers to these calls. The arguments of each call must be a text, not an object."""
    asked = [objects.call(call) for call in calls]
    tx.add("step", objects.tool_step(run, asked, used), parent=run["id"])
    tx.save(run | {"status": "requires_action", "required_action": objects.required_action(asked)})


def fail(tx: Transaction, run: Doc, error: ModelError) -> Doc:
    """End a run with an error, and return the run."""
    last_error = {"code": error.code, "message": error.message}
    return _end(tx, run, "failed", failed_at=ids.now(), last_error=last_error, expires_at=None)


def submit(tx: Transaction, run: Doc, body: Doc) -> Doc:
    """Accept the answers to all calls that a run waits for, and queue the run's next turn. Raises `ApiProblem`."""
    given = inputs.answers(body)
    if run["status"] != "requires_action":
        raise bad_request(f'Runs in status "{run["status"]}" do not accept tool outputs.')
    kind = run["required_action"]["type"]
    asked = [call["id"] for call in run["required_action"][kind]["tool_calls"]]
    name = "tool_approvals" if kind == objects.APPROVALS else "tool_outputs"
    for other in given.keys() - {name}:
        if given[other]:
            raise bad_request(f"The run waits for '{name}', not for '{other}'.", other)
    got = [call_id for call_id, _ in given[name]]
    if sorted(got) != sorted(asked):
        raise bad_request(f"Expected {name.replace('_', ' ')} for call_ids {asked}, got {got}", name)
    # The last step of a waiting run holds the calls that it waits for.
    step = tx.children("step", run["id"])[-1]
    details, answers = step["step_details"], dict(given[name])
    details["tool_calls"] = [objects.with_answer(call, answers[call["id"]]) for call in details["tool_calls"]]
    tx.save(step | {"status": "completed", "completed_at": ids.now()})
    run |= {"status": "queued", "required_action": None}
    tx.save(run)
    return run


def cancel(tx: Transaction, run: Doc) -> Doc:
    """Begin to cancel a run. Later, the function `cancelled` ends the run.

    Raises `ApiProblem` if the run cannot be cancelled.
    """
    if run["status"] not in ACTIVE or run["status"] == "cancelling":
        raise bad_request(f"Cannot cancel run with status '{run['status']}'.")
    run |= {"status": "cancelling", "required_action": None}
    tx.save(run)
    return run


def cancelled(tx: Transaction, run_id: str) -> None:
    """End a run that is being cancelled, because its cancellation is complete."""
    run = tx.get("run", run_id)
    if run is not None and run["status"] == "cancelling":
        _end(tx, run, "cancelled", cancelled_at=ids.now(), expires_at=None)


def expire(tx: Transaction) -> list[Doc]:
    """End all overdue runs, whatever status they have, and return them."""
    return [_end(tx, run, "expired") for run in tx.overdue("run", time.time())]


def abort(tx: Transaction, run_id: str, error: ModelError) -> Doc | None:
    """End a run with this error, because the server has lost the current turn of the run. Return the run.

    Return None if the run no longer has a turn.
    """
    run = tx.get("run", run_id)
    return fail(tx, run, error) if run is not None and run["status"] in ("queued", "in_progress") else None


def recover(tx: Transaction) -> list[tuple[Doc, LiveTurn]]:
    """Prepare the runs that a stopped server left unfinished. Return each queued run with a new turn.

    A run in progress is queued again. The model's answer was lost, but the model can be asked again.
    """
    expire(tx)
    unsettled = tx.overdue("run", math.inf)
    for run in unsettled:
        cancelled(tx, run["id"])
        if run["status"] == "in_progress":
            run["status"] = "queued"
            tx.save(run)
    return [(run, LiveTurn()) for run in unsettled if run["status"] == "queued"]


def _end(tx: Transaction, run: Doc, status: str, **changes: object) -> Doc:
    """End a run without an answer, and return the run. A step that waits for outputs gets the same status."""
    step = tx.latest("step", run["id"])
    if step is not None and step["status"] == "in_progress":
        tx.save(step | {"status": status, f"{status}_at": ids.now(), "last_error": changes.get("last_error")})
    ended = run | {"status": status, "required_action": None, **changes}
    tx.settle(ended)
    return ended
