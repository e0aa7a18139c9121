"""The steps of a response on the server: the effect of each step on the stored objects.

    queued -> in_progress -> completed | incomplete | failed
    queued | in_progress -> cancelled

Every function works within one transaction, and none of them calls a model: the module `workers` calls it between two
such transactions. A function that finds the response in an unexpected state changes nothing: another request was
faster.

Each response is stored with its question: the input, the number of the attempt to answer the user's last message, and,
if the response was streamed, its pieces.
"""

import math
import threading
import time
from typing import Any

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import bad_request, closing, unknown
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ModelError, ModelRequest, Outcome, Reply
from gpt_agent_fsm.local.models.tokens import cut, usage
from gpt_agent_fsm.local.responses import context, items, objects, options, references
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction

ACTIVE = frozenset({"queued", "in_progress"})
"""The states in which a response locks its conversation."""


def create(tx: Transaction, body: Doc, lifetime: float) -> Doc:
    """Create a queued response, which fails if it is not done after `lifetime` seconds. Raises `ApiProblem`."""
    response, past, given = _read(tx, body)
    conversation_id = response["conversation"]["id"] if response["conversation"] else ""
    latest = tx.latest("response", conversation_id) if conversation_id else None
    tx.add("response", response, parent=conversation_id, due=time.time() + lifetime)
    tx.add("question", _question(tx, latest, given, past + given), parent=response["id"])
    return response


def _read(tx: Transaction, body: Doc) -> tuple[Doc, list[Doc], list[Doc]]:
    """Return a new response, the items before its input, and its input; stores nothing. Raises `ApiProblem`."""
    response = objects.response(body)
    given = items.of_input(body)
    _check_source(tx, response, given)
    past = _past(tx, response)
    given = references.resolved(tx, given, "input", past)
    context.check_tool_calls(past + given)
    return response, past, given


def count_tokens(tx: Transaction, body: Doc) -> int:
    """Return how many tokens the model would read for a response that is not created. Raises `ApiProblem`."""
    given = {name: value for name, value in body.items() if value is not None}
    response, past, added = _read(tx, {"model": "any"} | given)
    return usage(_request(response, past + added), Reply())["prompt_tokens"]


def check_lock(tx: Transaction, conversation_id: str) -> None:
    """Raise the 404 for an unknown conversation, and the 400 for one that is locked by a response."""
    if tx.find("conversation", conversation_id) is None:
        raise unknown("Conversation", conversation_id)
    if _active(tx, conversation_id) is not None:
        raise bad_request(
            "Another process is currently operating on this conversation. Please retry in a few seconds.",
            code="conversation_locked",
        )


def found(tx: Transaction, response_id: str) -> Doc:
    """Return a response that is stored for its client, or raise the 404."""
    response = tx.get("response", response_id)
    if response is None or not response["store"]:
        raise unknown("Response", response_id)
    return response


def input_of(tx: Transaction, response_id: str) -> list[Doc]:
    """Return the items of a response's input, oldest first."""
    given: list[Doc] = _question_of(tx, response_id)["input"]
    return given


def start(tx: Transaction, response_id: str, cancelled: threading.Event) -> ModelRequest | None:
    """Start a queued response: return the request for the model, or `None` if it is no longer queued."""
    response = tx.get("response", response_id)
    if response is None or response["status"] != "queued":
        return None
    response["status"] = "in_progress"
    tx.save(response)
    whole = _past(tx, response) + input_of(tx, response_id)
    return _request(response, whole, attempt=_question_of(tx, response_id)["attempt"], cancelled=cancelled)


def _request(response: Doc, whole: list[Doc], **more: Any) -> ModelRequest:  # noqa: ANN401 - fields of a request
    """Return the request for the model; `whole` is the context with the input."""
    return ModelRequest(
        context.instructions(response["instructions"], whole),
        context.chat(whole),
        objects.nested(options.offered(response)),
        response["model"],
        max_tokens=response["max_output_tokens"],
        approvals=context.approvals(whole),
        **options.for_model(response),
        **more,
    )


def settle(tx: Transaction, response_id: str, turn: LiveTurn, request: ModelRequest, outcome: Outcome) -> bool:
    """End a response with the outcome of asking the model; if it has ended, change nothing and return False.

    Its items are added to the conversation when it ends, and are listed from that moment on; a failure adds no items.
    """
    response = tx.get("response", response_id)
    if response is None or response["status"] != "in_progress":
        return False
    if turn.chunks:
        tx.save(_question_of(tx, response_id) | {"chunks": turn.chunks})
    if isinstance(outcome, ModelError):
        turn.result = _fail(tx, response, outcome.code, outcome.message)
        return True
    reply = cut(outcome, request.max_tokens)
    response["output"] = _output(turn, reply)
    response["usage"] = objects.usage(usage(request, reply))
    if reply.incomplete is None:
        response |= {"status": "completed", "completed_at": ids.now()}
    else:
        reason = "max_output_tokens" if reply.incomplete == "max_completion_tokens" else reply.incomplete
        response |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    if response["conversation"] is not None:
        ended = time.time()
        for item in input_of(tx, response_id) + response["output"]:
            tx.add("item", item, parent=response["conversation"]["id"], run=response_id, due=ended)
    elif response["store"]:
        references.remember(tx, response)
    turn.result = _end(tx, response)
    return True


def _output(turn: LiveTurn, reply: Reply) -> list[Doc]:
    output = []
    if reply.text or not reply.calls:
        status = "completed" if reply.incomplete is None else "incomplete"
        output.append(items.answer(turn.message_id, reply.text, status))
    return output + [
        items.approval_request(call) if isinstance(call, ApprovalRequest) else items.tool_call(call)
        for call in reply.calls
    ]


def chunks_of(tx: Transaction, response_id: str) -> list[str]:
    """Return the pieces in which a response that has ended was streamed; empty when it was not."""
    question = _question_of(tx, response_id)
    # Files of earlier versions have another name.
    chunks: list[str] = question.get("chunks") or question.get("said") or []
    return chunks


def cancel(tx: Transaction, response: Doc) -> Doc:
    """End a background response at once; a cancelled response stays as it is. Raises `ApiProblem`."""
    if not response["background"]:
        raise bad_request("Cannot cancel a synchronous response.")
    if response["status"] in ACTIVE:
        response = _end(tx, response | {"status": "cancelled"})
    elif response["status"] != "cancelled":
        raise bad_request("Cannot cancel a completed response.")
    return response


def abandon(tx: Transaction, conversation_id: str) -> Doc | None:
    """Cancel the active response of a conversation, and return it, if there is one."""
    response = _active(tx, conversation_id)
    return None if response is None else _end(tx, response | {"status": "cancelled"})


def expire(tx: Transaction) -> list[Doc]:
    """Fail all overdue responses, and return them."""
    overdue = tx.overdue("response", time.time())
    return [_fail(tx, response, "server_error", "The response took too long.") for response in overdue]


def abort(tx: Transaction, response_id: str, error: ModelError) -> Doc | None:
    """End a response whose turn was lost with an error, and return it; None if it has ended."""
    response = tx.get("response", response_id)
    if response is None or response["status"] not in ACTIVE:
        return None
    return _fail(tx, response, error.code, error.message)


def recover(tx: Transaction) -> list[Doc]:
    """Prepare the responses that a stopped server left unfinished, and return those that are queued.

    A background response in progress is queued again: the model's answer was lost, but the request can be repeated. No
    client waits for a synchronous response; nothing remains of those that were not to be stored.
    """
    for response in tx.containing("response", b'"store":false'):
        # The text may occur elsewhere in a response, such as in the schema of a tool.
        if not response["store"]:
            tx.erase_tree(response["id"])
    expire(tx)
    unsettled = tx.overdue("response", math.inf)
    for response in unsettled:
        if response["background"]:
            response["status"] = "queued"
            tx.save(response)
        else:
            _fail(tx, response, "server_error", "The server was stopped while it worked on the response.")
    return [response for response in unsettled if response["background"]]


def _active(tx: Transaction, conversation_id: str) -> Doc | None:
    """Return the response that locks the conversation, if any: only the latest response can be active."""
    response = tx.latest("response", conversation_id)
    return response if response is not None and response["status"] in ACTIVE else None


def _check_source(tx: Transaction, response: Doc, given: list[Doc]) -> None:
    """Raise the error for the context of a new response: missing, ambiguous, unknown, or locked."""
    conversation, previous_id = response["conversation"], response["previous_response_id"]
    if conversation is not None and previous_id is not None:
        raise bad_request(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Provide only one of them.",
            "previous_response_id",
            "mutually_exclusive_parameters",
        )
    if conversation is not None:
        check_lock(tx, conversation["id"])
    elif previous_id is not None:
        _check_previous(tx, previous_id)
    elif not given:
        raise bad_request(
            "One of 'input', 'previous_response_id' and 'conversation' must be provided.",
            "input",
            "missing_required_parameter",
        )


def _check_previous(tx: Transaction, previous_id: str) -> None:
    previous = tx.get("response", previous_id)
    param = "previous_response_id"
    if previous is None or not previous["store"]:
        raise bad_request(f"Previous response with id '{previous_id}' not found.", param, "previous_response_not_found")
    if previous["status"] in ACTIVE:
        raise bad_request(f"Previous response with id '{previous_id}' has not ended yet.", param)


def _past(tx: Transaction, response: Doc) -> list[Doc]:
    """Return the items before a response's input: those of its conversation or of the responses before it."""
    past: list[Doc] = []
    while response["conversation"] is None:
        previous_id = response["previous_response_id"]
        previous = None if previous_id is None else tx.get("response", previous_id)
        if previous is None:
            # The beginning, or the response before was deleted.
            return past
        past = input_of(tx, previous["id"]) + previous["output"] + past
        response = previous
    # The conversation may have continued since.
    return tx.children_before("item", response["conversation"]["id"], response["id"]) + past


def _question(tx: Transaction, latest: Doc | None, given: list[Doc], whole: list[Doc]) -> Doc:
    """Return the question of a new response, with the number of the attempt to answer the user's last message.

    `latest` is the response before it on its conversation, `whole` is the context with the input. A failed response
    leaves nothing in its conversation. So a client that tries again sends the same text as a new item: that is the next
    attempt, and so is a response that finds the very same item in the conversation.
    """
    last = context.last_user_message(whole)
    asked = {"id": last and last["id"], "text": last and items.text_of(last["content"])}
    attempt = 1
    if latest is not None:
        before = _question_of(tx, latest["id"])
        kept = latest["status"] in ("completed", "incomplete")
        if before["asked"]["id"] == asked["id"] or (not kept and before["asked"]["text"] == asked["text"]):
            attempt = before["attempt"] + (latest["status"] == "failed")
    return {"id": ids.new_id("question"), "input": given, "asked": asked, "attempt": attempt}


def _question_of(tx: Transaction, response_id: str) -> Doc:
    return tx.children("question", response_id)[0]


def _fail(tx: Transaction, response: Doc, code: str, message: str) -> Doc:
    return _end(tx, response | {"status": "failed", "error": {"code": code, "message": message}})


def _end(tx: Transaction, response: Doc) -> Doc:
    """Store a response that has ended, and return it; of one that is not to be stored, nothing remains."""
    if response["store"]:
        tx.settle(response)
    else:
        tx.erase_tree(response["id"])
    return response


def result(storage: Storage, response_id: str, turn: LiveTurn | None) -> Doc:
    """Return a response whose turn has ended. Raises `ApiProblem` if it was deleted, or if the server is closing."""
    if turn is not None and turn.result is not None:
        return turn.result
    with storage.transaction() as tx:
        response = tx.get("response", response_id)
    if response is None:
        raise unknown("Response", response_id)
    if response["status"] in ACTIVE:
        raise closing()
    return response
