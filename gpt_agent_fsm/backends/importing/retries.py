"""Retries the requests of an import. Unlike a runtime, an import accepts long waits, and logs each wait."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import attrs

from gpt_agent_fsm.engine.retrying import call_with_retries
from gpt_agent_fsm.errors import ApiError, ThreadBusy, TransientError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.settings import Settings

__all__ = ["Retries"]

log: Log = get_logger(__package__)

T = TypeVar("T")
_LONGEST_WAIT = 300.0
"""The longest wait in seconds that a server may ask for. If a server asks for more, the import ends with an error."""
_random = random.Random()  # noqa: S311 - jitter, no secret


@attrs.frozen
class Retries:
    """Makes requests, and retries them according to the settings."""

    settings: Settings
    sleep: Callable[[float], object]

    @property
    def timeout(self) -> float:
        """How many seconds a request may take."""
        return self.settings.request_timeout

    def call(self, request: Callable[[], T]) -> T:
        """Call `request`, retry it while a retry may help, and return its result."""
        return call_with_retries(
            request,
            settings=self.settings,
            longest_wait=_LONGEST_WAIT,
            sleep=self.sleep,
            rng=_random,
            on_failure=_log_failure,
            retry_on=(TransientError, ThreadBusy),
        )


def _log_failure(error: ApiError, _attempt: int, pause: float | None) -> None:
    if pause is not None:
        log.warning("Trying again in %.1f seconds: %s", pause, error)
