"""Reads how long a server asks the client to wait before the next attempt."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from datetime import UTC

from gpt_agent_fsm.settings import MAX_RETRY_AFTER

__all__ = ["retry_after"]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds `retry-after-ms` or `Retry-After` asks the client to wait; None without a valid value.

    `Retry-After` may be a number of seconds or a date. A date is compared with the answer's own `Date`, because the
    clocks of client and server may differ. Without a `Date` it is compared with the client's clock. The result is at
    most `MAX_RETRY_AFTER`. A value that cannot be read is ignored.
    """
    milliseconds, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds)
    if seconds is not None:
        seconds /= 1000
    elif plain is not None:
        seconds = _number(plain)
        if seconds is None:
            seconds = _seconds_until(plain, headers.get("date"))
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(date: str, sent: str | None) -> float | None:
    until, since = _timestamp(date), _timestamp(sent or "")
    return None if until is None else until - (time.time() if since is None else since)


def _timestamp(date: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
        # Dates in HTTP are in UTC, even if they name no time zone.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
