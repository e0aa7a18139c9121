"""Finds the files of a thread that a conversation can name. There are such files only if one server has both APIs."""

from __future__ import annotations

from functools import partial

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.http import segment
from gpt_agent_fsm.backends.importing.retries import Retries
from gpt_agent_fsm.backends.responses import ResponsesBackend, wire
from gpt_agent_fsm.errors import ApiError, RequestRefused

__all__ = ["SharedFiles"]

_NO_FILES = 501


class SharedFiles:
    """The files of the thread that the conversation can name by their ids."""

    def __init__(self, source: AssistantsBackend, target: ResponsesBackend, retries: Retries) -> None:
        self._target, self._retries = target, retries
        self._one_server = source._http.base_url == target._http.base_url
        self._known: dict[str, bool] = {}

    def __contains__(self, file_id: object) -> bool:
        """Return whether the conversation's server knows the file of the thread. Asks the server once for each file."""
        if not self._one_server or not isinstance(file_id, str) or not file_id.strip():
            return False
        if file_id not in self._known:
            self._known[file_id] = self._retries.call(partial(self._ask, file_id))
        return self._known[file_id]

    def _ask(self, file_id: str) -> bool:
        try:
            self._target._http.get(f"/files/{segment(file_id)}", wire.File, timeout=self._retries.timeout)
        except RequestRefused:
            return False
        except ApiError as error:
            if error.status != _NO_FILES:
                raise
            return False
        return True
