"""The types of the options of this package's commands that take a number in a range."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

__all__ = ["number_from", "whole_number_from"]

T = TypeVar("T", int, float)


def whole_number_from(minimum: int, maximum: int = 1_000_000_000) -> Callable[[str], int]:
    """Return a type for `add_argument`: a whole number in this range."""
    return lambda text: _in_range(text, int, minimum, maximum)


def number_from(minimum: float, maximum: float = float("inf")) -> Callable[[str], float]:
    """Return a type for `add_argument`: a number in this range, but never `nan`."""
    return lambda text: _in_range(text, float, minimum, maximum)


def _in_range(text: str, kind: Callable[[str], T], minimum: T, maximum: T) -> T:
    try:
        value = kind(text)
    except ValueError:
        value = None
    # The comparison also refuses `nan`.
    if value is None or not minimum <= value <= maximum:
        what = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what} from {minimum:,} to {maximum:,}")
    return value
