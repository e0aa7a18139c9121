"""Explains a refusal by OpenAI's own service, from which the Assistants API was removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from gpt_agent_fsm.errors import ApiError

__all__ = ["removal_explained"]

_OPENAI = "api.openai.com"


@contextlib.contextmanager
def removal_explained(base_url: str) -> Iterator[None]:
    """If OpenAI's own service does not know the path of a request, add advice to the error: use `ResponsesBackend`."""
    try:
        yield
    except ApiError as error:
        host = urlsplit(base_url).hostname or ""
        if error.status in (404, 405, 410) and (host == _OPENAI or host.endswith(f".{_OPENAI}")):
            advice = "OpenAI removed the Assistants API from its own service on 2026-08-26; use ResponsesBackend"
            error.message = f"{error.message.rstrip('.')}; {advice}"
            error.args = (error.status, error.code, error.message, error.request_id)
        raise
