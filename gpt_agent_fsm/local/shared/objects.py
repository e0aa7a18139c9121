"""Makes HTTP answers that have the same form in both APIs: a page of a list, and the answer to a DELETE."""

from gpt_agent_fsm.local.shared.storage import Doc


def deleted(object_id: str, kind: str) -> Doc:
    """Return the answer to a DELETE. `kind` is the type of the answer, for example `thread.deleted`."""
    return {"id": object_id, "object": kind, "deleted": True}


def page(docs: list[Doc], has_more: bool) -> Doc:
    """Return a page of a list in the form of the API."""
    return {
        "object": "list",
        "data": docs,
        "first_id": docs[0]["id"] if docs else None,
        "last_id": docs[-1]["id"] if docs else None,
        "has_more": has_more,
    }
