"""References to stored items. Clients send a reference in place of the item itself."""

from collections.abc import Iterable

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.local.responses.items import APPROVAL_REQUEST, APPROVAL_RESPONSE
from gpt_agent_fsm.local.shared.storage import Doc, Transaction

_PREFIXES = {APPROVAL_REQUEST: "mcpr"}
"""The prefix of a new id, for those types of items whose old id a client may have chosen."""


def remember(tx: Transaction, response: Doc) -> None:
    """Remember where the output items of a response are stored, so that clients can refer to them.

    This is needed only for a response without a conversation.
    """
    for item in response["output"]:
        tx.add("output", {"id": item["id"], "response": response["id"]}, parent=response["id"])


def resolved(tx: Transaction, given: Iterable[Doc], param: str, past: Iterable[Doc] = ()) -> list[Doc]:
    """Return the given items. Each reference is replaced by a copy of the item that it names. The copy has a new id.

    A reference to an item in `past` is left out. If a client sends an approval request again, with its id, the request
    is treated like a reference, and its approval response is changed to name the copy. Raises the 404 for a reference
    to an unknown item.
    """
    present = {item["id"] for item in past}
    renamed: dict[str, str] = {}
    items = []
    for item in given:
        if item["type"] == APPROVAL_RESPONSE:
            request_id = item["approval_request_id"]
            items.append(item | {"approval_request_id": renamed.get(request_id, request_id)})
        elif item["type"] not in ("item_reference", APPROVAL_REQUEST):
            items.append(item)
        elif item["id"] not in present:
            original = item if item["type"] == APPROVAL_REQUEST else _found(tx, item["id"], param)
            renamed[item["id"]] = ids.new_id(_PREFIXES.get(original["type"]) or original["id"].partition("_")[0])
            items.append(original | {"id": renamed[item["id"]]})
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
