"""The time that a server asks to wait before the next attempt."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from datetime import UTC

__all__ = ["retry_after"]

_MAX_WAIT = 86_400.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date.

    At most a day. A value that cannot be read counts as absent.
    """
    milliseconds, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds)
    if seconds is not None:
        seconds /= 1000
    elif plain is not None:
        seconds = _number(plain)
        if seconds is None:
            seconds = _seconds_until(plain)
    return None if seconds is None else min(max(seconds, 0.0), _MAX_WAIT)


def _seconds_until(date: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
        # Dates of HTTP are in UTC, even if they do not say so.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
