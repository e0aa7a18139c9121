"""Checks of callables that a program hands over: they are called later, when a mistake would only reach a log."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["why_nothing_runs"]


def why_nothing_runs(given: Callable[..., Any]) -> str | None:
    """Return why a plain call would run nothing (the function is async, or a generator function), or None."""
    for function in (given, getattr(given, "__call__", None)):  # noqa: B004 - the method itself, of an object with one
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return "it must not be async, because nothing would await it"
        if inspect.isgeneratorfunction(function):
            return "it must not be a generator function, because nothing would iterate over it"
    return None
