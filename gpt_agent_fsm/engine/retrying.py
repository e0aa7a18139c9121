"""Requests for a caller who waits, before there is an agent: tried again while that may help."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.protocols import Scheduler
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.settings import Settings

__all__ = ["announce_failure", "insist"]

T = TypeVar("T")
_HOPELESS_ATTEMPTS = 3


def insist(
    operation: str,
    thread_id: str,
    request: Callable[[], T],
    *,
    settings: Settings,
    scheduler: Scheduler,
    rng: random.Random,
) -> T:
    """Return what `request` returns, however many tries it takes; raise when they are spent."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return request()
        except TransientError as error:
            asked = error.retry_after or 0.0
            will_retry = attempt < _most_attempts(error, settings) and asked <= settings.request_timeout
            announce_failure(operation, thread_id, error, attempt, will_retry=will_retry)
            if not will_retry:
                raise
            scheduler.sleep(max(asked, settings.backoff(attempt) * rng.uniform(0.5, 1.0)))


def _most_attempts(error: TransientError, settings: Settings) -> int:
    """Return how often to try for a caller who waits: few times where it seldom helps, so that he is told soon."""
    most = settings.request_max_attempts
    if not error.hopeless:
        return most
    return _HOPELESS_ATTEMPTS if error.status is not None else min(most, _HOPELESS_ATTEMPTS)


def announce_failure(operation: str, thread_id: str, error: TransientError, attempt: int, *, will_retry: bool) -> None:
    """Send `RequestFailed` for a request that was made before there was an agent; the sender is None."""
    event = events.RequestFailed(
        thread_id=thread_id,
        operation=operation,
        status=error.status,
        code=error.code,
        message=str(error),
        attempt=attempt,
        will_retry=will_retry,
    )
    signals.report(event)
    for handler in signals.receivers(None, event):
        signals.call(handler, None, event, by_keyword=True, thread=thread_id or operation)
