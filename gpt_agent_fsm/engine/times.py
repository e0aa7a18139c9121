"""Times and durations in words, in the same form everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["age", "duration", "moment"]


def moment(at: float) -> str:
    """Return a time in seconds since the epoch as text, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """Return a duration in words, such as "3 minutes"."""
    seconds = max(seconds, 0.0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    return "a moment" if seconds < 1 else f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def age(seconds: float) -> str:
    """Return a duration for a table, such as 5m."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"
