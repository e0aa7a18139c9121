"""Finds the span to which something belongs that happens on a thread. Only `otel` imports this module."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import attrs
from opentelemetry import trace
from opentelemetry.context import Context

from gpt_agent_fsm.telemetry.gen_ai import GenAi
from gpt_agent_fsm.telemetry.watching import Tokens

__all__ = ["Invocation", "Invocations"]


@attrs.define(eq=False)
class Invocation:
    """The work on one message, and its span. After a rate limit, several runs belong to the invocation.

    Attributes:
        scope: the context of the spans below `span`.
        since: when the invocation began, in seconds since the epoch.
        is_over: True after the end of the invocation. The span stays open while the answer is read.
        error: why the invocation failed.
    """

    span: trace.Span
    scope: Context
    since: float
    is_over: bool = False
    error: str | None = None
    tokens: Tokens = (0, 0)
    answers: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Thread:
    """The open invocations of one thread, by the keys of their messages, and the key of the message in progress."""

    open: dict[str, Invocation] = attrs.field(factory=dict)
    key: str = ""


class Invocations:
    """The open invocations of one runtime.

    The hooks and handlers of one thread are called one after the other. Only a message may be accepted at the same
    time.
    """

    def __init__(self, gen_ai: GenAi, now: Callable[[], float]) -> None:
        self._gen_ai = gen_ai
        self._now = now
        self._threads: dict[str, _Thread] = {}

    def begin(self, thread_id: str, key: str, parent: Context, since: float) -> None:
        """Begin the invocation for a message, with a span below that of `parent`."""
        span = self._gen_ai.start_invocation(parent, since, thread_id)
        invocation = Invocation(span, trace.set_span_in_context(span, parent), since)
        self._threads.setdefault(thread_id, _Thread()).open[key] = invocation

    def follow(self, thread_id: str, key: str, since: float) -> None:
        """Note that the message with this key is in progress now.

        If its invocation is not open, begin it without a parent: an earlier process has accepted the message, or the
        message was parked.
        """
        thread = self._threads.setdefault(thread_id, _Thread())
        if thread.key != key:
            self._close_if_over(thread)
            thread.key = key
        if key not in thread.open:
            self.begin(thread_id, key, Context(), since)

    def current(self, thread_id: str) -> Invocation | None:
        """Return the invocation in progress."""
        thread = self._threads.get(thread_id)
        return None if thread is None else thread.open.get(thread.key)

    def end(self, thread_id: str, error: str | None) -> None:
        """Note that the invocation in progress has ended. Its span stays open until the answer was read: see `settle`.

        `error` is a short code; None if there was no error.
        """
        if (invocation := self.current(thread_id)) is not None:
            invocation.is_over, invocation.error = True, error

    def settle(self, thread_id: str) -> None:
        """Close the invocation in progress if it is over. Nothing more happens on the thread without a new command."""
        if (thread := self._threads.get(thread_id)) is not None:
            self._close_if_over(thread)

    def drop(self, thread_id: str, key: str, error: str) -> None:
        """Close the invocation for a message that will not be sent."""
        thread = self._threads.get(thread_id)
        if thread is not None and (invocation := thread.open.pop(key, None)) is not None:
            self._close(invocation, error)

    def leave(self, thread_id: str, reason: str | None = None) -> None:
        """Close all invocations of a thread. `reason`: the error of the invocations that are not over."""
        thread = self._threads.pop(thread_id, _Thread())
        for invocation in thread.open.values():
            # A failing exporter must not keep the other spans open.
            with contextlib.suppress(Exception):
                self._close(invocation, invocation.error if invocation.is_over else reason)

    def leave_all(self) -> None:
        """Close all invocations."""
        for thread_id in list(self._threads):
            self.leave(thread_id)

    def _close_if_over(self, thread: _Thread) -> None:
        invocation = thread.open.get(thread.key)
        if invocation is not None and invocation.is_over:
            del thread.open[thread.key]
            self._close(invocation, invocation.error)

    def _close(self, invocation: Invocation, error: str | None) -> None:
        self._gen_ai.end_invocation(invocation.span, invocation.since, self._now(), error)
