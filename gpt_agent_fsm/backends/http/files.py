"""Downloads and uploads the files of a server. The paths of files are the same in both APIs."""

from __future__ import annotations

from gpt_agent_fsm.backends.http.client import HttpClient
from gpt_agent_fsm.backends.shared.content import file_path
from gpt_agent_fsm.ports import Timeout

__all__ = ["HttpFiles"]


class HttpFiles:
    """The part of a backend that downloads and uploads files."""

    _http: HttpClient

    def download(self, file_id: str, *, timeout: Timeout) -> bytes:
        """See `FileBackend.download`."""
        return self._http.download(file_path(file_id), timeout=timeout)

    def upload(self, name: str, data: bytes, purpose: str, *, timeout: Timeout) -> str:
        """See `UploadBackend.upload`."""
        return self._http.upload("/files", {"purpose": purpose}, name, data, timeout=timeout)
