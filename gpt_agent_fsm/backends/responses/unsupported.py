"""Explains errors of servers that cannot be used with this backend, so that users do not suspect their own code."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from gpt_agent_fsm.backends.http import HttpClient
from gpt_agent_fsm.backends.http.exchange import limits_of
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.errors import ApiError, RequestRefused, TransientError
from gpt_agent_fsm.ports import CallLimits, Timeout

__all__ = ["conversations_explained", "without_empty_input"]

_HAS_THE_PATH = (400, 405, 422)
"""If a GET gets one of these statuses, the server has the path, but perhaps only for another method."""


@contextlib.contextmanager
def conversations_explained(
    http: HttpClient, timeout: Timeout, *, absent: Collection[int] = (405, 501)
) -> Iterator[None]:
    """If the server has no conversations, raise a `RequestRefused` that says so. Other errors are not changed.

    If the `with` block raises an error with a status in `absent`, or a 404 with the body for an unknown path, the
    server has no conversations. The block, and the request that then checks the base URL, share the limits of
    `timeout`.
    """
    limits = limits_of(timeout)
    try:
        yield
    except ApiError as error:
        if not _is_unknown_path(error) and error.status not in absent:
            raise
        sentence = _no_conversations(http, error, limits)
        raise RequestRefused(error.status, error.code, sentence, error.request_id) from error


def _is_unknown_path(error: ApiError) -> bool:
    if isinstance(error, RequestRefused):
        return error.unknown_path
    # An HTML page in answer to a GET counts as a transient error.
    return error.status in (404, 405, 501) and isinstance(error, TransientError) and error.hopeless


def _no_conversations(http: HttpClient, error: ApiError, limits: CallLimits) -> str:
    if not _has_responses(http, limits):
        lacking = "the server has no /conversations, which ResponsesBackend needs"
        return f"{error.message}; if the base URL is right, {lacking}"
    words = "" if _is_unknown_path(error) else f"; the server says: {error.message}"
    return f"{http.base_url} has /responses but no /conversations, so ResponsesBackend cannot be used with it{words}"


def _has_responses(http: HttpClient, limits: CallLimits) -> bool:
    try:
        http.get("/responses", wire.ItemPage, timeout=limits)
    except ApiError as error:
        return error.status in _HAS_THE_PATH
    return True


def without_empty_input(http: HttpClient, error: ApiError) -> RequestRefused:
    """Return the error that says that the server does not accept an empty input."""
    sentence = (
        f"The server at {http.base_url} does not take an empty input, even with a conversation, so ResponsesBackend "
        f"cannot be used with it: messages are added to the conversation before a response is asked for. "
        f"The server says: {error.message}"
    )
    return RequestRefused(error.status, error.code, sentence, error.request_id)
