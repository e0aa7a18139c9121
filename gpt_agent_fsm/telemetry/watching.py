"""Passes the trace and some signals of one runtime to an instrument.

No instrument may listen to `signals.tool_call_requested` or `signals.event`. Whoever hears a tool call counts as
somebody who may answer it, and a call that nobody else answers would then wait instead of failing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.runtime import Runtime

__all__ = ["Handlers", "RunEnd", "Tokens", "check_runtime", "ends_of_runs", "watch"]

RunEnd: TypeAlias = events.RunCompleted | events.RunFailed | events.RateLimited
Tokens: TypeAlias = tuple[int, int]
"""The prompt tokens and the completion tokens of a run."""
Handlers: TypeAlias = Mapping[signals.Signal[Any], Callable[[Any, Any], None]]
"""Functions that are called with the agent and the event of a signal."""


def check_runtime(runtime: object) -> None:
    """Raise `TypeError` if the argument of `instrument` is no runtime."""
    if not isinstance(runtime, Runtime):
        raise TypeError(f"instrument: runtime must be a Runtime, not {runtime!r}")


def watch(
    runtime: Runtime, trace: Callable[[str, Mapping[str, Any]], object], *handlers: Handlers
) -> contextlib.ExitStack:
    """Call `trace` and the handlers for what happens in this runtime, until the returned stack is closed."""
    roster, stack = runtime._own_roster, contextlib.ExitStack()

    def connect(signal: signals.Signal[Any], handler: Callable[[Any, Any], None]) -> None:
        def receive(agent: Any, event: Any) -> None:  # noqa: ANN401 - an agent and an event of this signal
            # Signals send the events of all runtimes. The agent is None if there is no agent yet.
            if agent is not None and agent._roster is roster:
                handler(agent, event)

        signal.connect(receive, weak=False)
        stack.callback(signal.disconnect, receive)

    for each in handlers:
        for signal, handler in each.items():
            connect(signal, handler)
    stack.callback(runtime.add_trace(trace))
    return stack


def ends_of_runs(on_end: Callable[[RunEnd, Tokens], None]) -> Handlers:
    """Return the handlers that call `on_end(event, tokens)` when a run has completed, failed or was rate limited.

    Only `RunCompleted` contains the tokens of its run. The tokens of the other runs are the difference that the run has
    made to `Agent.usage`. They are unknown, and count as 0, for a run that was not started in this process.
    """
    before: dict[str, Tokens] = {}

    def used(agent: Any) -> Tokens:  # noqa: ANN401 - an agent
        return agent.usage.prompt_tokens, agent.usage.completion_tokens

    def started(agent: Any, event: events.RunStarted) -> None:  # noqa: ANN401 - an agent
        before[event.thread_id] = used(agent)

    def ended(agent: Any, event: RunEnd) -> None:  # noqa: ANN401 - an agent
        now = used(agent)
        was = before.pop(event.thread_id, now)
        if isinstance(event, events.RunCompleted):
            on_end(event, (event.prompt_tokens, event.completion_tokens))
        else:
            on_end(event, (now[0] - was[0], now[1] - was[1]))

    def stopped(_: object, event: events.AgentStopped) -> None:
        before.pop(event.thread_id, None)

    return {
        signals.run_started: started,
        signals.run_completed: ended,
        signals.run_failed: ended,
        signals.rate_limited: ended,
        signals.agent_stopped: stopped,
    }
