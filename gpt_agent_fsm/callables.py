"""Checks the callables that a program passes to the library. Without the checks, a mistake would show up much later."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["why_it_takes_no_such_call", "why_not_callable", "why_nothing_runs"]

_ANY_CALL = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def why_nothing_runs(given: Callable[..., Any]) -> str | None:
    """Return why calling this function would not run its body. Return None if calling it runs the body.

    Calling an async function or a generator function does not run its body.
    """
    for function in (given, getattr(given, "__call__", None)):  # noqa: B004 - the method is examined, not called
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return "it must not be async, because nothing would await it"
        if inspect.isgeneratorfunction(function):
            return "it must not be a generator function, because nothing would iterate over it"
    return None


def why_not_callable(given: object, arguments: int, *keywords: str) -> str | None:
    """Return why a call with this number of arguments and these keywords would fail. Return None if it would work.

    A call that would not run the body of the function, because the function is async or a generator, counts as a
    failure. If the signature of a callable cannot be read, the result is None.
    """
    if not callable(given):
        return "it is not callable"
    return why_nothing_runs(given) or why_it_takes_no_such_call(given, arguments, *keywords)


def why_it_takes_no_such_call(given: Callable[..., Any], arguments: int, *keywords: str) -> str | None:
    """Return why the signature of a callable does not fit a call. Return None if it fits, or cannot be read.

    The call has this number of arguments and these keywords.
    """
    with contextlib.suppress(Exception):
        signature = _signature(given)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        absent = [name for name in keywords if name not in signature.parameters]
        if absent and inspect.Parameter.VAR_KEYWORD not in kinds:
            return f"it has no parameter named {absent[0]}"
        try:
            signature.bind(*[None] * arguments, **dict.fromkeys(keywords))
        except TypeError as error:
            return str(error)
    return None


def _signature(given: Callable[..., Any]) -> inspect.Signature:
    """Return the signature that a call must match. For a decorated function, this may be the wrapper's signature."""
    with contextlib.suppress(ValueError):
        own = inspect.signature(given, follow_wrapped=False)
        if {parameter.kind for parameter in own.parameters.values()} != _ANY_CALL:
            return own
    # A decorator that takes any arguments probably passes them on.
    return inspect.signature(given)
