"""The error responses for errors of the storage.

They are not in the package `http`, because the HTTP application does not know the storage.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gpt_agent_fsm.local.http.error_responses import ApiProblem, bad_request, closing, database_locked
from gpt_agent_fsm.local.shared.storage import StorageBusyError, StorageClosedError, UnknownCursorError


def _unknown_cursor(error: UnknownCursorError) -> ApiProblem:
    message = f"Invalid '{error.param}': no object with id '{error.object_id}' is in this list."
    return bad_request(message, error.param, "invalid_value")


def _closed(_error: StorageClosedError) -> ApiProblem:
    return closing()


def _busy(_error: StorageBusyError) -> ApiProblem:
    return database_locked()


STORAGE_ERRORS: Mapping[type[Exception], Callable[[Any], ApiProblem]] = {
    UnknownCursorError: _unknown_cursor,
    StorageClosedError: _closed,
    StorageBusyError: _busy,
}
"""The error response for each error that a transaction raises because of the request or the server's state."""
