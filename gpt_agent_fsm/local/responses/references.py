"""References to items of stored responses and conversations, which clients send in place of the items."""

from collections.abc import Iterable

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def remember(tx: Transaction, response: Doc) -> None:
    """Store where the output of a response without a conversation is, so that a client can refer to it."""
    for item in response["output"]:
        tx.add("output", {"id": item["id"], "response": response["id"]}, parent=response["id"])


def resolved(tx: Transaction, given: Iterable[Doc], param: str, past: Iterable[Doc] = ()) -> list[Doc]:
    """Return the items, with a copy in place of each reference; one to an item of the past is left out.

    Raises the 404 for a reference to an unknown item.
    """
    present = {item["id"] for item in past}
    items = []
    for item in given:
        if item["type"] != "item_reference":
            items.append(item)
        elif item["id"] not in present:
            found = _found(tx, item["id"], param)
            items.append(found | {"id": ids.new_id(found["id"].partition("_")[0])})
    return items


def _found(tx: Transaction, item_id: str, param: str) -> Doc:
    item = tx.get("item", item_id)
    place = tx.get("output", item_id) if item is None else None
    response = tx.get("response", place["response"]) if place is not None else None
    if response is not None:
        item = next((each for each in response["output"] if each["id"] == item_id), None)
    if item is None:
        message = (
            f"Item with id '{item_id[:100]}' not found. Items of responses with 'store' set to false are not stored."
        )
        raise ApiProblem(404, message, param=param)
    return item
