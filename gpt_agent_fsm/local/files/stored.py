"""The stored files. A file is an object of the API. Its content is stored beside the object, as bytes."""

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import bad_request
from gpt_agent_fsm.local.shared import parts
from gpt_agent_fsm.local.shared.storage import Doc, Transaction


def add(tx: Transaction, name: str, purpose: str, content: bytes) -> Doc:
    """Store a file, and return its object."""
    file: Doc = {
        "id": ids.new_id("file", "-"),
        "object": "file",
        "bytes": len(content),
        "created_at": ids.now(),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
    # Clients may ask for the list of files with one purpose.
    tx.add("file", file, run=purpose)
    tx.add_bytes("content", _content_id(file["id"]), content, parent=file["id"])
    return file


def content_of(tx: Transaction, file_id: str) -> bytes:
    """Return the content of a stored file."""
    return tx.get_bytes("content", _content_id(file_id)) or b""


def check(tx: Transaction, file_id: str, param: str) -> None:
    """Raise the 400 unless a file with this id exists. `param` is the place in the request that names the file."""
    if tx.find("file", file_id) is None:
        raise bad_request(f"No file found with id '{file_id[:100]}'.", param, "file_not_found")


def check_image(tx: Transaction, file_id: str, param: str) -> None:
    """Raise the 400 unless a file with this id exists and is an image that models can see."""
    check(tx, file_id, param)
    if parts.image_type(content_of(tx, file_id)) is None:
        message = f"Invalid '{param}': the file '{file_id}' must be an image (PNG, JPEG, GIF or WebP)."
        raise bad_request(message, param, "invalid_value")


def as_part(tx: Transaction, file_id: str) -> Doc:
    """Return a file as a part of a chat message.

    If the file was deleted after the message was sent, the part says so.
    """
    file = tx.find("file", file_id)
    if file is None:
        return parts.chat_text_part(f"(The file {file_id} was deleted.)")
    return parts.file_part(file["filename"], content_of(tx, file_id))


def as_image(tx: Transaction, file_id: str, detail: str | None) -> Doc:
    """Return an image file as a part of a chat message, with the requested `detail`.

    If the file was deleted after the message was sent, the part says so.
    """
    content = content_of(tx, file_id)
    kind = parts.image_type(content)
    return as_part(tx, file_id) if kind is None else parts.image_part(parts.data_url(kind, content), detail)


def _content_id(file_id: str) -> str:
    return f"{file_id}/content"
