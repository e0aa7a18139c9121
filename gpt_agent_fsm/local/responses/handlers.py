"""Carries out the requests of the Responses API on the stored objects. The module `routes` lists the requests.

A handler gets the transaction, the body of the request, and the ids in its path. It returns the JSON object of the HTTP
answer. The functions in `lifecycle` change the status of a response.
"""

import math
import time
from functools import partial

import flask
from attrs import evolve

from gpt_agent_fsm.local.http.environ import ITEM_LAG, WAITING
from gpt_agent_fsm.local.http.error_responses import missing, unknown
from gpt_agent_fsm.local.responses import context, items, lifecycle, objects, references
from gpt_agent_fsm.local.responses.events import ResponseEvents
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.objects import deleted, page
from gpt_agent_fsm.local.shared.storage import Doc, PageQuery, Storage, Transaction, UnknownCursorError
from gpt_agent_fsm.local.shared.wire import Wire
from gpt_agent_fsm.local.shared.workers import Workers


class ResponsesApi(Wire):
    """The handlers of the API's requests.

    `lifetime` is the age in seconds at which an unfinished response fails. `item_lag` is the delay in seconds between
    the end of a response and the time from which its items are listed.
    """

    def __init__(self, storage: Storage, workers: Workers, lifetime: float, item_lag: float) -> None:
        super().__init__(storage, workers)
        self._lifetime = lifetime
        self._item_lag = item_lag

    # Streams of events, and waits

    def created_response_events(self, _tx: Transaction, response: Doc, turn: LiveTurn) -> ResponseEvents:
        """Return the events of a response that was just created."""
        return ResponseEvents(self._storage, response, turn, [])

    def stored_response_events(self, tx: Transaction, response: Doc) -> ResponseEvents:
        """Return the events of an existing response. Those with numbers up to `starting_after` are left out."""
        # A response without a turn has ended, so its stored form is final.
        turn = self._workers.turn_of(response["id"]) if response["status"] in lifecycle.ACTIVE else None
        chunks = lifecycle.chunks_of(tx, response["id"])
        after = validation.starting_after(flask.request.args)
        can_repeat = lifecycle.can_repeat_events(tx, response)
        return ResponseEvents(self._storage, response, turn, chunks, after, can_repeat=can_repeat)

    def until_ended(self, answer: Doc, turn: LiveTurn) -> Doc:
        """Return the response for the client. Raises `ApiProblem`.

        A background response is returned immediately. Any other response is returned when it has ended.
        """
        if answer["background"]:
            return answer
        with flask.request.environ[WAITING]():
            turn.wait()
        return lifecycle.result(self._storage, answer["id"], turn)

    # Conversations

    def create_conversation(self, tx: Transaction, body: Doc) -> Doc:
        conversation = objects.conversation(body)
        tx.add("conversation", conversation)
        self._add_items(tx, conversation["id"], body)
        return conversation

    def get_conversation(self, tx: Transaction, _body: Doc, conversation_id: str) -> Doc:
        return _conversation(tx, conversation_id)

    def modify_conversation(self, tx: Transaction, body: Doc, conversation_id: str) -> Doc:
        conversation = _conversation(tx, conversation_id)
        if "metadata" not in body:
            raise missing("metadata")
        conversation["metadata"] = validation.metadata(body)
        tx.save(conversation)
        return conversation

    def delete_conversation(self, tx: Transaction, _body: Doc, conversation_id: str) -> Doc:
        _conversation(tx, conversation_id)
        abandoned = lifecycle.abandon(tx, conversation_id)
        if abandoned is not None:
            tx.on_commit(partial(self._workers.end, abandoned["id"], abandoned))
        # The responses of the conversation can still be read.
        tx.delete_children("item", conversation_id)
        tx.delete(conversation_id)
        return deleted(conversation_id, "conversation.deleted")

    # Items

    def create_items(self, tx: Transaction, body: Doc, conversation_id: str) -> Doc:
        self._workers.expire(tx)
        lifecycle.check_lock(tx, conversation_id)
        if not body.get("items"):
            raise missing("items")
        return page(self._add_items(tx, conversation_id, body), has_more=False)

    def _add_items(self, tx: Transaction, conversation_id: str, body: Doc) -> list[Doc]:
        added = references.resolved(tx, items.given(tx, body, "items", items.MAX_ITEMS), "items")
        if any(items.key_of_answer(item) for item in added):
            context.check_outputs_are_new(tx.children("item", conversation_id), added)
        for item in added:
            tx.add("item", item, parent=conversation_id)
        return added

    def list_items(self, tx: Transaction, _body: Doc, conversation_id: str) -> Doc:
        _conversation(tx, conversation_id)
        lag = max(self._item_lag, flask.request.environ.get(ITEM_LAG, 0.0))
        # Without a lag, answers are listed even if the clock is set back.
        listed_by = time.time() - lag if lag else math.inf
        return page(*tx.page("item", conversation_id, _page_query(), due_by=listed_by))

    def get_item(self, tx: Transaction, _body: Doc, conversation_id: str, item_id: str) -> Doc:
        _conversation(tx, conversation_id)
        item = tx.find("item", item_id, conversation_id)
        if item is None:
            raise unknown("Item", item_id, f" in conversation '{conversation_id}'")
        return item

    def delete_item(self, tx: Transaction, body: Doc, conversation_id: str, item_id: str) -> Doc:
        tx.delete(self.get_item(tx, body, conversation_id, item_id)["id"])
        return _conversation(tx, conversation_id)

    # Responses

    def create_response(self, tx: Transaction, body: Doc, turn: LiveTurn) -> Doc:
        self._workers.expire(tx)
        response = lifecycle.create(tx, body, self._lifetime)
        self._begin_turn(tx, response, turn)
        return response

    def count_input_tokens(self, tx: Transaction, body: Doc) -> Doc:
        self._workers.expire(tx)
        return {"object": "response.input_tokens", "input_tokens": lifecycle.count_tokens(tx, body)}

    def get_response(self, tx: Transaction, _body: Doc, response_id: str) -> Doc:
        self._workers.expire(tx)
        return lifecycle.found(tx, response_id)

    def delete_response(self, tx: Transaction, _body: Doc, response_id: str) -> Doc:
        lifecycle.found(tx, response_id)
        tx.on_commit(partial(self._workers.end, response_id))
        tx.delete_tree(response_id)
        return deleted(response_id, "response")

    def cancel_response(self, tx: Transaction, _body: Doc, response_id: str) -> Doc:
        response = lifecycle.cancel(tx, lifecycle.found(tx, response_id))
        tx.on_commit(partial(self._workers.end, response_id, response))
        return response

    def list_input_items(self, tx: Transaction, _body: Doc, response_id: str) -> Doc:
        lifecycle.found(tx, response_id)
        return page(*_slice(lifecycle.input_of(tx, response_id), _page_query()))


def _conversation(tx: Transaction, conversation_id: str) -> Doc:
    found = tx.find("conversation", conversation_id)
    if found is None:
        raise unknown("Conversation", conversation_id)
    return found


def _page_query() -> PageQuery:
    """Return which page of a list the client asks for.

    `before` is ignored, because lists of this API cannot be read backwards.
    """
    return evolve(validation.page_query(flask.request.args), before=None)


def _slice(docs: list[Doc], query: PageQuery) -> tuple[list[Doc], bool]:
    """Return one page of the list `docs`, which is ordered oldest first.

    Also return whether more objects follow the page.
    """
    ordered = docs if query.order == "asc" else docs[::-1]
    ids = [doc["id"] for doc in ordered]
    if query.after is not None:
        if query.after not in ids:
            raise UnknownCursorError("after", query.after)
        ordered = ordered[ids.index(query.after) + 1 :]
    return ordered[: query.limit], len(ordered) > query.limit
