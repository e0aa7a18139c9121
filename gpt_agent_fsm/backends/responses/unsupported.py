"""The sentences for servers that this backend cannot work with, so that nobody searches for a mistake of their own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator

from gpt_agent_fsm.backends.http import HttpClient
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.errors import ApiError, RequestRefused

__all__ = ["conversations_explained", "without_empty_input"]

_HAS_THE_PATH = (400, 405, 422)
"""How servers answer a GET of a path that they have, but for another method."""


@contextlib.contextmanager
def conversations_explained(
    http: HttpClient, seconds: float, *, absent: Collection[int] = (405, 501)
) -> Iterator[None]:
    """Raise a refusal that names the server if it has no conversations; other errors pass.

    `absent` are the statuses that show it. A 404 does so if its body sounds like that of an unknown path. The block and
    the request that finds out whether the base URL is right share `seconds`.
    """
    until = time.monotonic() + seconds
    try:
        yield
    except RequestRefused as error:
        if not error.unknown_path and error.status not in absent:
            raise
        left = max(until - time.monotonic(), 0.001)
        raise RequestRefused(
            error.status, error.code, _no_conversations(http, error, left), error.request_id
        ) from error


def _no_conversations(http: HttpClient, error: RequestRefused, seconds: float) -> str:
    if not _has_responses(http, seconds):
        lacking = "the server has no /conversations, which ResponsesBackend needs"
        return f"{error.message}; if the base URL is right, {lacking}"
    words = "" if error.unknown_path else f"; the server says: {error.message}"
    return f"{http.base_url} has /responses but no /conversations, so ResponsesBackend cannot be used with it{words}"


def _has_responses(http: HttpClient, seconds: float) -> bool:
    try:
        http.get("/responses", wire.ItemPage, timeout=seconds)
    except ApiError as error:
        return error.status in _HAS_THE_PATH
    return True


def without_empty_input(http: HttpClient, error: ApiError) -> RequestRefused:
    """Return the error for a server that wants more than an empty input."""
    sentence = (
        f"The server at {http.base_url} does not take an empty input, even with a conversation, so ResponsesBackend "
        f"cannot be used with it: messages are added to the conversation before a response is asked for. "
        f"The server says: {error.message}"
    )
    return RequestRefused(error.status, error.code, sentence, error.request_id)
