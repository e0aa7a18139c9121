"""Metrics of runtimes for Prometheus. Their names begin with `gpt_agent_fsm_`.

The page "Telemetry" of the documentation lists the metrics. This module needs the extra `prometheus`.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import Counter as Count
from collections.abc import Iterator, Mapping
from typing import Any

from gpt_agent_fsm import events
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.telemetry.watching import RunEnd, Tokens, check_runtime, ends_of_runs, watch

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    advice = 'pip install prometheus-client (the extra "prometheus" of gpt-agent-fsm)'
    sentence = f"gpt_agent_fsm.telemetry.prometheus needs prometheus-client: {advice}"
    raise ImportError(sentence, name=missing.name) from missing

__all__ = ["instrument"]

_KNOWN_CODES = ("cancelled", "expired", "timeout")
_REQUEST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOOL = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
_LATE = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0)
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"gpt_agent_fsm_{name}", text, labels, buckets=buckets, registry=None)


class _Metrics(Collector):
    """The metrics of one registry. The runtimes that use the registry share the metrics, so they add up.

    Attributes:
        runtimes: the runtimes that are instrumented with this registry.
    """

    def __init__(self) -> None:
        self.runtimes: list[Runtime] = []
        self._runs = Counter("gpt_agent_fsm_runs", "Runs that have ended, by their end", ["end"], registry=None)
        self._tokens = Counter("gpt_agent_fsm_tokens", "Tokens of the runs that have ended", ["kind"], registry=None)
        for end in ("completed", "failed", "rate_limited", *_KNOWN_CODES):
            self._runs.labels(end)
        labels = ("operation", "outcome")
        self._requests = _histogram("request_seconds", "Duration of the requests to the API", _REQUEST, *labels)
        self._tools = _histogram("tool_seconds", "Duration of the functions of tools", _TOOL, "tool", "outcome")
        self._late = _histogram(
            "tick_lateness_seconds", "Seconds between the due time of a tick and its beginning", _LATE
        )
        self._commits = _histogram("commit_seconds", "Duration of the transactions of the store", _COMMIT)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Called at each scrape."""
        yield from self._gauges()
        for metric in (self._runs, self._tokens, self._requests, self._tools, self._late, self._commits):
            yield from metric.collect()

    def _gauges(self) -> Iterator[Metric]:
        """Count the threads that this process drives. The store is not read."""
        snapshots = [driver.snapshot for each in self.runtimes for driver in each._own_roster.driven]
        states = Count(snapshot.state for snapshot in snapshots)
        threads = GaugeMetricFamily("gpt_agent_fsm_threads", "Agents that are alive, by state", labels=["state"])
        for state in State:
            threads.add_metric([str(state)], states[state])
        yield threads
        queued = sum(len(snapshot.queue) for snapshot in snapshots)
        yield GaugeMetricFamily("gpt_agent_fsm_queue_length", "User messages that wait to be sent", value=queued)
        stalled = sum(snapshot.waiting is not None and snapshot.waiting.told > 0 for snapshot in snapshots)
        yield GaugeMetricFamily("gpt_agent_fsm_stalled_threads", "Threads that have waited for long", value=stalled)

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """See `Runtime.add_trace`."""
        match name:
            case "request":
                self._requests.labels(info["operation"], info["outcome"]).observe(info["seconds"])
            case "tool_ended":
                self._tools.labels(info["tool"], info["outcome"]).observe(info["seconds"])
            case "tick":
                self._late.observe(info["late"])
            case "commit":
                self._commits.observe(info["seconds"])

    def on_end(self, event: RunEnd, tokens: Tokens) -> None:
        """Count a run that has ended."""
        self._runs.labels(_end_of(event)).inc()
        for kind, number in zip(("prompt", "completion"), tokens, strict=True):
            self._tokens.labels(kind).inc(number)


def _end_of(event: RunEnd) -> str:
    match event:
        case events.RunCompleted():
            return "completed"
        case events.RateLimited():
            return "rate_limited"
        case events.RunFailed(code=code):
            # A server may send any code, and each value of a label costs memory.
            return code if code in _KNOWN_CODES else "failed"


_lock = threading.RLock()
_known: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
"""The metrics of each registry that is in use."""


def instrument(runtime: Runtime, registry: CollectorRegistry | None = None) -> contextlib.ExitStack:
    """Measure a runtime until the returned object is closed by `close()` or by the end of a `with` statement.

    `registry` is the registry that is scraped, by default that of `prometheus_client`. Runtimes with the same registry
    share their metrics. When the last of them is closed, the metrics are unregistered.
    """
    check_runtime(runtime)
    used = REGISTRY if registry is None else registry
    with _lock:
        metrics = _known.get(used)
        if metrics is None:
            metrics = _Metrics()
            used.register(metrics)
            _known[used] = metrics
        if runtime in metrics.runtimes:
            raise ValueError("This runtime is instrumented with this registry already; close that instrument first.")
        metrics.runtimes.append(runtime)
    stack = watch(runtime, metrics.trace, ends_of_runs(metrics.on_end))
    stack.callback(_release, used, metrics, runtime)
    return stack


def _release(registry: CollectorRegistry, metrics: _Metrics, runtime: Runtime) -> None:
    with _lock:
        metrics.runtimes.remove(runtime)
        if not metrics.runtimes:
            del _known[registry]
            registry.unregister(metrics)
