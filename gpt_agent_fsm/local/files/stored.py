"""The stored files. A file is an object of the API, and its content is stored beside it, as the bytes themselves."""

from gpt_agent_fsm.local import ids
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
    # Lists may be asked for the files of one purpose.
    tx.add("file", file, run=purpose)
    tx.add_bytes("content", _content_id(file["id"]), content, parent=file["id"])
    return file


def content_of(tx: Transaction, file_id: str) -> bytes:
    """Return the content of a stored file."""
    return tx.get_bytes("content", _content_id(file_id)) or b""


def _content_id(file_id: str) -> str:
    return f"{file_id}/content"
