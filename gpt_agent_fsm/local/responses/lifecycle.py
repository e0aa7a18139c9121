"""The changes of a response's status on the server, and their effects on the stored objects.

    queued -> in_progress -> completed | incomplete
    queued | in_progress -> failed | cancelled

Every function works within one transaction. No function here calls a model. The module `workers` calls the model
between two transactions. If a function finds the response in an unexpected state, another request was faster, and the
function changes nothing.

A question is stored with each response. It contains the input, the number of this attempt to answer the user's last
message, whether the response is streamed, and the `include` list of the request. When a streamed response ends, the
streamed pieces are added to its question.
"""

import math
import threading
import time
from collections.abc import Collection
from typing import Any

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import bad_request, closing, unknown
from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ModelError, ModelRequest, Outcome, Reply
from gpt_agent_fsm.local.models.tokens import cut, usage
from gpt_agent_fsm.local.responses import context, hosted, items, objects, options, references
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction

ACTIVE = frozenset({"queued", "in_progress"})
"""The states in which a response locks its conversation."""


def create(tx: Transaction, body: Doc, lifetime: float) -> Doc:
    """Create a queued response. If it has not ended after `lifetime` seconds, it fails. Raises `ApiProblem`."""
    response, past, given = _read(tx, body)
    conversation_id = response["conversation"]["id"] if response["conversation"] else ""
    latest = tx.latest("response", conversation_id) if conversation_id else None
    tx.add("response", response, parent=conversation_id, due=time.time() + lifetime)
    asked = {"streamed": body.get("stream") is True, "include": body.get("include") or []}
    tx.add("question", _question(tx, latest, given, past + given) | asked, parent=response["id"])
    return response


def _read(tx: Transaction, body: Doc) -> tuple[Doc, list[Doc], list[Doc]]:
    """Return a new response, the items before its input, and its input, but store nothing. Raises `ApiProblem`."""
    response = objects.response(body)
    given = items.of_input(tx, body)
    _check_source(tx, response, given)
    past = _past(tx, response)
    given = references.resolved(tx, given, "input", past)
    context.check_tool_calls(past + given)
    return response, past, given


def count_tokens(tx: Transaction, body: Doc) -> int:
    """Return how many tokens a model would read for this request. Create no response. Raises `ApiProblem`."""
    given = {name: value for name, value in body.items() if value is not None}
    response, past, added = _read(tx, {"model": "any"} | given)
    return usage(_request(tx, response, past + added), Reply())["prompt_tokens"]


def check_lock(tx: Transaction, conversation_id: str) -> None:
    """Check that a new response may be created on a conversation.

    Raise the 404 if the conversation is unknown, and the 400 if an active response locks it.
    """
    if tx.find("conversation", conversation_id) is None:
        raise unknown("Conversation", conversation_id)
    if _active(tx, conversation_id) is not None:
        raise bad_request(
            "Another process is currently operating on this conversation. Please retry in a few seconds.",
            code="conversation_locked",
        )


def found(tx: Transaction, response_id: str) -> Doc:
    """Return a response. Raise the 404 if it is unknown, or if the server was asked not to store it."""
    response = tx.get("response", response_id)
    if response is None or not response["store"]:
        raise unknown("Response", response_id)
    return response


def input_of(tx: Transaction, response_id: str) -> list[Doc]:
    """Return the items of a response's input, oldest first."""
    given: list[Doc] = _question_of(tx, response_id)["input"]
    return given


def start(tx: Transaction, response_id: str, cancelled: threading.Event) -> ModelRequest | None:
    """Start a queued response, and return the request for the model. Return None if the response is not queued."""
    response = tx.get("response", response_id)
    if response is None or response["status"] != "queued":
        return None
    response["status"] = "in_progress"
    tx.save(response)
    whole = _past(tx, response) + input_of(tx, response_id)
    return _request(tx, response, whole, attempt=_question_of(tx, response_id)["attempt"], cancelled=cancelled)


def _request(tx: Transaction, response: Doc, whole: list[Doc], **more: Any) -> ModelRequest:  # noqa: ANN401
    """Return the request for the model. `whole` is the context, including the input.

    `more` contains further fields of the request.
    """
    return ModelRequest(
        context.instructions(response["instructions"], whole),
        context.chat(tx, whole),
        objects.nested(options.offered(response)),
        response["model"],
        max_tokens=response["max_output_tokens"],
        approvals=context.approvals(whole),
        **options.for_model(response),
        **more,
    )


def settle(tx: Transaction, response_id: str, turn: LiveTurn, request: ModelRequest, outcome: Outcome) -> bool:
    """If the response is in progress, end it with the model's outcome, and return True. Otherwise return False.

    The input and the output are added to the response's conversation at the same time, unless the model has failed.
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
    response["output"] = _output(response, turn, reply, _question_of(tx, response_id).get("include", ()))
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


def _output(response: Doc, turn: LiveTurn, reply: Reply, include: Collection[str]) -> list[Doc]:
    before: list[Doc] = []
    if reply.reasoning and response["reasoning"]["summary"]:
        before.append(hosted.reasoning(reply.reasoning))
    before += [hosted.item(tool, include) for tool in reply.hosted]
    status = "completed" if reply.incomplete is None else "incomplete"
    content = items.answer_content(reply)
    message = [items.answer(turn.message_id, content, status)] if content else []
    calls = [
        items.approval_request(call) if isinstance(call, ApprovalRequest) else items.tool_call(call)
        for call in reply.calls
    ]
    # If clients have already received pieces of the message, these pieces were sent as those of the first item.
    return (message + before if turn.chunks else before + message) + calls


def chunks_of(tx: Transaction, response_id: str) -> list[str]:
    """Return the pieces in which an ended response was streamed. Return an empty list if it was not streamed."""
    question = _question_of(tx, response_id)
    # Database files of earlier versions have another name for this field.
    chunks: list[str] = question.get("chunks") or question.get("said") or []
    return chunks


def cancel(tx: Transaction, response: Doc) -> Doc:
    """Cancel a background response. A response that is already cancelled stays as it is. Raises `ApiProblem`."""
    if not response["background"]:
        raise bad_request("Cannot cancel a synchronous response.")
    if response["status"] in ACTIVE:
        response = _end(tx, response | {"status": "cancelled"})
    elif response["status"] != "cancelled":
        raise bad_request("Cannot cancel a completed response.")
    return response


def abandon(tx: Transaction, conversation_id: str) -> Doc | None:
    """Cancel and return the active response of a conversation. Return None if no response is active."""
    response = _active(tx, conversation_id)
    return None if response is None else _end(tx, response | {"status": "cancelled"})


def expire(tx: Transaction) -> list[Doc]:
    """End all overdue responses as failed, and return them."""
    overdue = tx.overdue("response", time.time())
    return [_fail(tx, response, "server_error", "The response took too long.") for response in overdue]


def abort(tx: Transaction, response_id: str, error: ModelError) -> Doc | None:
    """End an active response with this error, because the server has lost the response's turn. Return the response.

    Return None if the response was not active.
    """
    response = tx.get("response", response_id)
    if response is None or response["status"] not in ACTIVE:
        return None
    return _fail(tx, response, error.code, error.message)


def can_repeat_events(tx: Transaction, response: Doc) -> bool:
    """Return whether a stream of this response can send the same events again, with the same numbers.

    It cannot if the streamed pieces are lost. They are lost if the response did not end with an outcome of the model,
    or if the model was asked again after a restart.
    """
    question = _question_of(tx, response["id"])
    is_whole = response["status"] in ("completed", "incomplete") or question.get("chunks")
    return not question.get("restarted") and bool(is_whole or not question.get("streamed"))


def recover(tx: Transaction) -> list[tuple[Doc, LiveTurn]]:
    """Prepare the responses that a stopped server left unfinished. Return each queued response with a new turn.

    A background response in progress is queued again. The model's answer was lost, but the model can be asked again.
    Other unfinished responses fail, because no client waits for them. Responses whose `store` is false are erased.
    """
    for response in tx.containing("response", b'"store":false'):
        # The searched text may occur elsewhere in a response, such as in the schema of a tool.
        if not response["store"]:
            tx.erase_tree(response["id"])
    expire(tx)
    queued = []
    for response in tx.overdue("response", math.inf):
        if response["background"]:
            response["status"] = "queued"
            tx.save(response)
            question = _question_of(tx, response["id"])
            tx.save(question | {"restarted": True})
            queued.append((response, LiveTurn(streamed=question.get("streamed", False))))
        else:
            _fail(tx, response, "server_error", "The server was stopped while it worked on the response.")
    return queued


def _active(tx: Transaction, conversation_id: str) -> Doc | None:
    """Return the response that locks a conversation, or None. Only the conversation's latest response can lock it."""
    response = tx.latest("response", conversation_id)
    return response if response is not None and response["status"] in ACTIVE else None


def _check_source(tx: Transaction, response: Doc, given: list[Doc]) -> None:
    """Check the sources of a new response's context. Raise an error if one is missing, ambiguous, unknown or locked."""
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
    """Return the items before a response's input.

    They come from its conversation, or from the chain of its previous responses.
    """
    past: list[Doc] = []
    while response["conversation"] is None:
        previous_id = response["previous_response_id"]
        previous = None if previous_id is None else tx.get("response", previous_id)
        if previous is None:
            # The chain begins here, or the previous response was deleted.
            return past
        past = input_of(tx, previous["id"]) + previous["output"] + past
        response = previous
    # Later items are left out, because the conversation may have continued after this response.
    return tx.children_before("item", response["conversation"]["id"], response["id"]) + past


def _question(tx: Transaction, latest: Doc | None, given: list[Doc], whole: list[Doc]) -> Doc:
    """Return the question that a new response answers.

    It includes the number of this attempt to answer the user's last message. `latest` is the previous response on the
    new response's conversation. `whole` is the context, including the input.

    The two responses answer the same message if the last item of the user is the same. They also do so if the previous
    response left nothing in the conversation, and the client sends the same text again as a new item. If they answer
    the same message, the number is that of the previous response, plus one if that response has failed. Otherwise the
    number is 1.
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
    """Store and return a response that has ended. If its `store` is false, erase it from the storage instead."""
    if response["store"]:
        tx.settle(response)
    else:
        tx.erase_tree(response["id"])
    return response


def result(storage: Storage, response_id: str, turn: LiveTurn | None) -> Doc:
    """Return a response whose turn (the work of the model) has ended.

    Raises `ApiProblem` if the response was deleted, or if it is still active because the server is closing.
    """
    if turn is not None and turn.result is not None:
        return turn.result
    with storage.transaction() as tx:
        response = tx.get("response", response_id)
    if response is None:
        raise unknown("Response", response_id)
    if response["status"] in ACTIVE:
        raise closing()
    return response
