"""Makes requests for a caller who waits for the result. A failed request is retried while a retry may help.

This is the only code that repeats a request in a loop and sleeps between the attempts. The requests of a tick are
retried by the state machine, which never blocks.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.protocols import CallLimits, Scheduler
from gpt_agent_fsm.engine.runner import call_limits
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.settings import Settings

__all__ = ["WaitingCaller", "announce_failure", "call_with_retries"]

log: Log = get_logger(__name__)
T = TypeVar("T")
LIKELY_PERMANENT_ATTEMPTS = 3
"""The maximum number of attempts if a retry within seconds rarely helps. It is small, so that the caller fails fast."""


def call_with_retries(
    request: Callable[[], T],
    *,
    settings: Settings,
    longest_wait: float,
    sleep: Callable[[float], object],
    rng: random.Random,
    on_failure: Callable[[ApiError, int, float | None], object],
    retry_on: tuple[type[ApiError], ...] = (TransientError,),
    min_attempts_if_answered: int = 1,
    repeatable: bool = True,
) -> T:
    """Return what `request` returns. Raise its last error if no attempt is left.

    Args:
        request: the function that makes the request; called once per attempt.
        settings: the settings for the number of attempts and for the pauses between them.
        longest_wait: the longest pause, in seconds, that the server may ask for. If it asks for a longer pause, there
            is no further attempt.
        sleep: the function that blocks during a pause; called with the seconds of the pause.
        rng: the source of the jitter of the pauses.
        on_failure: a function that is called as `on_failure(error, attempt, pause)` after each failed attempt.
            `attempt` counts from 1. `pause` is the number of seconds until the next attempt, or None after the last
            attempt.
        retry_on: the errors that are worth another attempt. All other errors are raised at once.
        min_attempts_if_answered: the minimum number of attempts after an unusable HTTP answer, even if the settings
            allow fewer.
        repeatable: False if there must be no further attempt after an `OutcomeUnknown`.

    Blocks until it returns or raises.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return request()
        except retry_on as error:
            asked = getattr(error, "retry_after", None) or 0.0
            is_last = attempt >= _max_attempts(error, settings, min_attempts_if_answered) or asked > longest_wait
            if is_last or (isinstance(error, OutcomeUnknown) and not repeatable):
                on_failure(error, attempt, None)
                raise
            pause = max(asked, settings.backoff(attempt) * rng.uniform(0.5, 1.0))
            on_failure(error, attempt, pause)
            sleep(pause)


def _max_attempts(error: ApiError, settings: Settings, min_attempts_if_answered: int) -> int:
    if not getattr(error, "hopeless", False):
        return settings.request_max_attempts
    few = min(settings.request_max_attempts, LIKELY_PERMANENT_ATTEMPTS)
    return few if error.status is None else max(few, min_attempts_if_answered)


class WaitingCaller:
    """Makes those requests of one runtime whose result a caller waits for. Retries them, and announces each failure.

    Args:
        check_open: a function that raises an error if no request may be made; called before each attempt.
    """

    def __init__(
        self, settings: Settings, scheduler: Scheduler, rng: random.Random, check_open: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._random = rng
        self._check_open = check_open

    def limits(self, settings: Settings | None = None) -> CallLimits:
        """Return the limits of a request that begins now.

        `settings`: the settings of the thread; None for the settings of the runtime.
        """
        return call_limits(self._scheduler.clock, settings or self._settings)

    def request(self, operation: str, thread_id: str, request: Callable[[], T], *, repeatable: bool = True) -> T:
        """Call `request` and return its result. Retry while a retry may help; see `call_with_retries`.

        The traceback of an `ApiError` begins here. The message says what happened, and the log has the whole traceback.
        """

        def open_request() -> T:
            self._check_open()
            return request()

        def on_failure(error: ApiError, attempt: int, pause: float | None) -> None:
            announce_failure(operation, thread_id, error, attempt, will_retry=pause is not None)

        try:
            return call_with_retries(
                open_request,
                settings=self._settings,
                longest_wait=self._settings.request_timeout,
                sleep=self._scheduler.sleep,
                rng=self._random,
                on_failure=on_failure,
                min_attempts_if_answered=LIKELY_PERMANENT_ATTEMPTS,
                repeatable=repeatable,
            )
        except ApiError as error:
            log.debug("%s failed", operation, exc_info=error)
            raise error.with_traceback(None) from None


def announce_failure(operation: str, thread_id: str, error: ApiError, attempt: int, *, will_retry: bool) -> None:
    """Announce `RequestFailed` for a request that is made without an agent. The sender of the signal is None."""
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
    for handler in signals.receivers(None, type(event)):
        signals.call(handler, None, event, by_keyword=True, thread=thread_id or operation)
