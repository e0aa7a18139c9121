"""Makes spans and measurements in the words of OpenTelemetry's semantic conventions for generative AI, version 1.41.0.

Only `otel` imports this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import metadata

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

__all__ = ["GenAi"]

_SCHEMA = "https://opentelemetry.io/schemas/1.41.0"
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4**power for power in range(14)]
_OPERATION, _PROVIDER, _ERROR = "gen_ai.operation.name", "gen_ai.provider.name", "error.type"
_CONVERSATION, _INVOKE = "gen_ai.conversation.id", "invoke_agent"

_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")


class GenAi:
    """The tracer and the instruments of one runtime. All times are in seconds since the epoch."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
        provider_name: str,
    ) -> None:
        name, version = "gpt_agent_fsm", metadata.version("gpt-agent-fsm")
        meter = metrics.get_meter(name, version, meter_provider, _SCHEMA)
        self._tracer = trace.get_tracer(name, version, tracer_provider, _SCHEMA)
        self._provider_name = provider_name
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._usage = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def start_invocation(self, parent: Context, since: float, thread_id: str) -> Span:
        """Start the span of the work on one message."""
        named = {_OPERATION: _INVOKE, _PROVIDER: self._provider_name, _CONVERSATION: thread_id}
        return self._tracer.start_span(_INVOKE, parent, SpanKind.CLIENT, named, start_time=_ns(since))

    def end_invocation(self, span: Span, since: float, now: float, error: str | None) -> None:
        """End this span. `error` is a short code; None if there was no error."""
        self._end(span, _INVOKE, now - since, now, error)

    def start_tool(self, parent: Context, since: float, thread_id: str, call_id: str, tool: str) -> Span:
        """Start the span of the function of a tool."""
        named = {_OPERATION: "execute_tool", "gen_ai.tool.name": tool, "gen_ai.tool.type": "function"}
        named |= {"gen_ai.tool.call.id": call_id, _CONVERSATION: thread_id}
        return self._tracer.start_span(f"execute_tool {tool}", parent, attributes=named, start_time=_ns(since))

    def end_tool(self, span: Span, seconds: float, now: float, error: str | None) -> None:
        """End this span."""
        self._end(span, "execute_tool", seconds, now, error)

    def add_request(
        self, parent: Context, since: float, now: float, operation: str, error: str | None, status: int | None
    ) -> None:
        """Add the span of a request that has ended. The conventions have no words for it, except those for HTTP."""
        known = {} if status is None else {"http.response.status_code": status}
        span = self._tracer.start_span(operation, parent, SpanKind.CLIENT, known, start_time=_ns(since))
        _set_error(span, error)
        span.end(_ns(now))

    def set_agent(self, span: Span, assistant_id: str) -> None:
        """Add the id of the assistant to a span."""
        span.set_attribute("gen_ai.agent.id", assistant_id)

    def set_tokens(self, span: Span, prompt: int, completion: int) -> None:
        """Add the tokens that were used to a span."""
        span.set_attributes({"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion})

    def count_tokens(self, prompt: int, completion: int) -> None:
        """Record the tokens of one run. Nothing is recorded for a run whose tokens are not known."""
        named = {_OPERATION: _INVOKE, _PROVIDER: self._provider_name}
        if prompt or completion:
            self._usage.record(prompt, {**named, "gen_ai.token.type": "input"})
            self._usage.record(completion, {**named, "gen_ai.token.type": "output"})

    def set_texts(self, span: Span, role: str, texts: Sequence[str]) -> None:
        """Add the texts of the user's message or of the assistant's messages to a span."""
        ended = {"finish_reason": "stop"} if role == "assistant" else {}
        messages = [{"role": role, "parts": [{"type": "text", "content": text}], **ended} for text in texts]
        name = "gen_ai.output.messages" if role == "assistant" else "gen_ai.input.messages"
        span.set_attribute(name, json.dumps(messages, ensure_ascii=False))

    def _end(self, span: Span, operation: str, seconds: float, now: float, error: str | None) -> None:
        named = {_OPERATION: operation, _PROVIDER: self._provider_name}
        _set_error(span, error)
        # Even if an exporter raises an error, the duration is recorded.
        try:
            span.end(_ns(now))
        finally:
            self._duration.record(seconds, named if error is None else {**named, _ERROR: _short(error)})


def _short(error: str) -> str:
    """Return an error's code for a metric. A server may send any text as the code."""
    return error if _CODE.fullmatch(error) else "_OTHER"


def _set_error(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute(_ERROR, error)
        # There is no description, because it could contain a text of the conversation.
        span.set_status(Status(StatusCode.ERROR))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
