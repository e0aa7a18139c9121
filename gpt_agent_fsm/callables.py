"""Checks of callables that a program hands over: they are called later, when a mistake would only reach a log."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["why_not_callable", "why_nothing_runs"]


def why_nothing_runs(given: Callable[..., Any]) -> str | None:
    """Return why a plain call would run nothing (the function is async, or a generator function), or None."""
    for function in (given, getattr(given, "__call__", None)):  # noqa: B004 - the method itself, of an object with one
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return "it must not be async, because nothing would await it"
        if inspect.isgeneratorfunction(function):
            return "it must not be a generator function, because nothing would iterate over it"
    return None


def why_not_callable(given: object, arguments: int, *keywords: str) -> str | None:
    """Return why a call with this many arguments and these keywords would fail or run nothing, or None.

    A callable whose signature cannot be read passes.
    """
    if not callable(given):
        return "it is not callable"
    if reason := why_nothing_runs(given):
        return reason
    with contextlib.suppress(Exception):
        signature = inspect.signature(given)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        absent = [name for name in keywords if name not in signature.parameters]
        if absent and inspect.Parameter.VAR_KEYWORD not in kinds:
            return f"it has no parameter named {absent[0]}"
        try:
            signature.bind(*[None] * arguments, **dict.fromkeys(keywords))
        except TypeError as error:
            return str(error)
    return None
