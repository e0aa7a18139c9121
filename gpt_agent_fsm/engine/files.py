"""Makes the requests that download and upload files. These requests do not belong to a conversation."""

from __future__ import annotations

import os
from collections.abc import Callable

from gpt_agent_fsm.engine.checks import optional_text, required_text
from gpt_agent_fsm.engine.content import checked_path, name_in, read_file
from gpt_agent_fsm.engine.protocols import FileBackend, Timeout, UploadBackend
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.errors import OutcomeUnknown
from gpt_agent_fsm.events.media import default_name
from gpt_agent_fsm.machine.reasons import as_sentence

__all__ = ["downloading", "uploading"]

_MAY_EXIST = "The file may be on the server. Search for it there before you upload it again."


def downloading(backend: object, file_id: str, limits: Callable[[], Timeout]) -> Callable[[], bytes]:
    """Return a function that downloads a file. Raises `ValueError` for a blank id.

    Raises `TypeError` if the backend does not support files.
    """
    required_text(file_id, "file_id")
    if not offers(backend, FileBackend):
        raise TypeError(f"{type(backend).__name__} does not support files: it needs the method `download`")
    return lambda: backend.download(file_id, timeout=limits())


def uploading(
    backend: object,
    source: str | os.PathLike[str] | bytes,
    name: str | None,
    purpose: str,
    limits: Callable[[], Timeout],
) -> Callable[[], str]:
    """Read the file, and return a function that uploads it. Raises the errors of `Runtime.upload`."""
    name, purpose = optional_text(name, "name"), required_text(purpose, "purpose")
    if not offers(backend, UploadBackend):
        raise TypeError(f"{type(backend).__name__} takes no files: it needs the method `upload`")
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        path = checked_path(os.fspath(source), "the path")
        data, name = read_file(path, "the file"), name or name_in(path)
    else:
        raise TypeError(f"the file must be a path or bytes, not {type(source).__name__}")
    if not data:
        raise ValueError("the file is empty")
    name = name or default_name(data)

    def upload() -> str:
        try:
            return backend.upload(name, data, purpose, timeout=limits())
        except OutcomeUnknown as error:
            error.message = f"{as_sentence(error.message)} {_MAY_EXIST}"
            raise

    return upload
