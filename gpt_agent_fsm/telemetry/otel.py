"""Spans and metrics of a runtime for OpenTelemetry. This module needs the extra `otel`.

The page "Telemetry" of the documentation lists the spans, attributes and metrics.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.telemetry.watching import Handlers, RunEnd, Tokens, check_runtime, ends_of_runs, watch

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as missing:
    advice = 'pip install opentelemetry-api (the extra "otel" of gpt-agent-fsm)'
    raise ImportError(f"gpt_agent_fsm.telemetry.otel needs opentelemetry-api: {advice}", name=missing.name) from missing

from gpt_agent_fsm.telemetry.gen_ai import GenAi
from gpt_agent_fsm.telemetry.invocations import Invocations

__all__ = ["instrument"]


def instrument(
    runtime: Runtime,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    *,
    provider_name: str = "openai",
    capture_content: bool = False,
) -> contextlib.ExitStack:
    """Make spans and metrics of a runtime until the returned object is closed by `close()` or by a `with` statement.

    The providers are by default the global ones. `provider_name` is the value of `gen_ai.provider.name`. Only with
    `capture_content=True`, spans contain the texts of messages. `close` ends the spans that are open.
    """
    check_runtime(runtime)
    spans = _Spans(runtime, GenAi(tracer_provider, meter_provider, provider_name), has_texts=capture_content)
    stack = contextlib.ExitStack()
    stack.callback(spans.invocations.leave_all)
    stack.enter_context(watch(runtime, spans.on_trace, ends_of_runs(spans.on_run_end), spans.handlers))
    return stack


class _Spans:
    """Turns the trace and the events of one runtime into spans.

    Attributes:
        invocations: the open spans of messages.
        handlers: the functions to call for events.
    """

    def __init__(self, runtime: Runtime, gen_ai: GenAi, *, has_texts: bool) -> None:
        self._now, self._agent_of = runtime.scheduler.clock.time, runtime.get
        self._gen_ai = gen_ai
        self._has_texts = has_texts
        self._on_this_thread = threading.local()
        self.invocations: Invocations = Invocations(gen_ai, self._now)
        self.handlers: Handlers = {
            signals.user_message_added: self._on_message,
            signals.messages_discarded: self._on_discarded,
            signals.run_started: self._on_run_started,
            signals.rate_limit_retries_exhausted: self._on_retries_exhausted,
            signals.assistant_message_added: self._on_answer,
            signals.request_failed: self._on_request_failed,
            signals.agent_stopped: self._on_stopped,
        }

    def on_trace(self, name: str, info: Mapping[str, Any]) -> None:
        """See `Runtime.add_trace`."""
        match name:
            case "message_accepted":
                self.invocations.begin(info["thread_id"], info["key"], context.get_current(), self._now())
            case "request":
                self._on_request(info)
            case "tool_started":
                self._on_tool_started(info["thread_id"], info["call_id"], info["tool"])
            case "tool_ended":
                self._on_tool_ended(info["seconds"], _error(info))
            case "tick" if info["settled"]:
                self.invocations.settle(info["thread_id"])

    def _on_request(self, info: Mapping[str, Any]) -> None:
        now = self._now()
        since = now - info["seconds"]
        if info["key"] is not None:
            self.invocations.follow(info["thread_id"], info["key"], since)
        if (current := self.invocations.current(info["thread_id"])) is not None:
            self._gen_ai.add_request(current.scope, since, now, info["operation"], _error(info), info["status"])

    def _on_tool_started(self, thread_id: str, call_id: str, tool: str) -> None:
        current = self.invocations.current(thread_id)
        scope = context.Context() if current is None else current.scope
        span = self._gen_ai.start_tool(scope, self._now(), thread_id, call_id, tool)
        self._on_this_thread.tool = span, context.attach(trace.set_span_in_context(span, scope))

    def _on_tool_ended(self, seconds: float, error: str | None) -> None:
        span, token = self._on_this_thread.__dict__.pop("tool")
        context.detach(token)
        self._gen_ai.end_tool(span, seconds, self._now(), error)

    def on_run_end(self, event: RunEnd, tokens: Tokens) -> None:
        """Add a run that has ended to the span of its message."""
        self._gen_ai.count_tokens(*tokens)
        if (current := self.invocations.current(event.thread_id)) is not None:
            current.tokens = (current.tokens[0] + tokens[0], current.tokens[1] + tokens[1])
            self._gen_ai.set_tokens(current.span, *current.tokens)
            if isinstance(event, events.RateLimited):
                current.span.add_event("rate_limited", {"retries_remaining": event.retries_remaining})
                return
        self.invocations.end(event.thread_id, event.code if isinstance(event, events.RunFailed) else None)

    def _on_message(self, _: object, event: events.UserMessageAdded) -> None:
        if event.key is not None:
            self.invocations.follow(event.thread_id, event.key, self._now())
            if self._has_texts and (current := self.invocations.current(event.thread_id)) is not None:
                self._gen_ai.set_texts(current.span, "user", [event.content])

    def _on_discarded(self, _: object, event: events.MessagesDiscarded) -> None:
        for key in event.keys:
            self.invocations.drop(event.thread_id, key, "discarded")

    def _on_run_started(self, _: object, event: events.RunStarted) -> None:
        if (current := self.invocations.current(event.thread_id)) is not None:
            self._gen_ai.set_agent(current.span, event.assistant_id)

    def _on_retries_exhausted(self, _: object, event: events.RateLimitRetriesExhausted) -> None:
        self.invocations.end(event.thread_id, "rate_limit_exceeded")

    def _on_answer(self, _: object, event: events.AssistantMessageAdded) -> None:
        if self._has_texts and not event.older and (current := self.invocations.current(event.thread_id)) is not None:
            current.answers.append(event.content)
            self._gen_ai.set_texts(current.span, "assistant", current.answers)

    def _on_request_failed(self, _: object, event: events.RequestFailed) -> None:
        if not event.will_retry:
            self.invocations.end(event.thread_id, event.code or str(event.status or "request_failed"))

    def _on_stopped(self, agent: object, event: events.AgentStopped) -> None:
        if self._agent_of(event.thread_id) in (None, agent):  # otherwise, the next agent of the thread continues
            self.invocations.leave(event.thread_id, event.reason)


def _error(info: Mapping[str, Any]) -> str | None:
    return None if info["outcome"] == "ok" else str(info["outcome"])
