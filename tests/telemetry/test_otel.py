"""Spans and metrics for OpenTelemetry: their parents, names, attributes and errors, and what they never contain."""

import json
import logging
import threading
from types import SimpleNamespace

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gpt_agent_fsm import Runtime, Settings, errors, signals
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.errors import RunError
from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.telemetry import otel
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

SECRET = "the moon is made of cheese"
WEATHER = Call((("get_weather", json.dumps({"city": SECRET})),))
LIMITED = [Fail(RunStatus.RATE_LIMITED)]


def get_weather(city: str) -> str:
    return SECRET


class Collected:
    """A tracer and a meter, and what they were told."""

    def __init__(self, *processors):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        for processor in (*processors, SimpleSpanProcessor(self.exporter)):
            self.tracers.add_span_processor(processor)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("test")

    def instrument(self, runtime, **options):
        return otel.instrument(runtime, self.tracers, self.meters, **options)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, *names):
        return [span for span in self.spans if span.name in names]

    @property
    def names(self):
        return [span.name for span in self.spans]

    def points(self, name):
        """Return the points of a metric as pairs of attributes and numbers."""
        data = self.reader.get_metrics_data()
        found = [
            (dict(point.attributes), point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return [
            (attributes, SimpleNamespace(count=point.count, sum=point.sum, bounds=list(point.explicit_bounds)))
            for attributes, point in found
        ]


@pytest.fixture
def collected():
    return Collected()


def parents(spans):
    """Return the name of each span's parent, or None for a root."""
    names = {span.context.span_id: span.name for span in spans}
    return {span.name: span.parent and names.get(span.parent.span_id, "elsewhere") for span in spans}


# --- where spans belong ------------------------------------------------------------------------------------


def test_the_spans_of_a_turn_are_below_the_span_of_the_caller(make_runtime, collected):
    runtime = make_runtime([WEATHER, Answer(SECRET)], tools=[get_weather])
    with collected.instrument(runtime), collected.tracer.start_as_current_span("web request"):
        runtime.start("a").ask(SECRET, timeout=60)
    requests = ["post_message", "create_run", "get_run", "submit_tool_outputs", "list_messages"]
    assert parents(collected.spans) == {
        "web request": None,
        "invoke_agent": "web request",
        "execute_tool get_weather": "invoke_agent",
        **dict.fromkeys(requests, "invoke_agent"),
    }
    assert len({span.context.trace_id for span in collected.spans}) == 1


def test_each_message_belongs_to_its_own_caller(make_runtime, collected):
    runtime = make_runtime()
    with collected.instrument(runtime):
        agent = runtime.start("a")
        for caller in ("one", "two"):
            with collected.tracer.start_as_current_span(caller):
                agent.add_user_message("Hello")
        agent.wait(timeout=60)
    callers = {span.context.span_id: span.name for span in collected.named("one", "two")}
    assert [callers[span.parent.span_id] for span in collected.named("invoke_agent")] == ["one", "two"]
    for name in ("post_message", "create_run", "list_messages"):
        below = [span.parent.span_id for span in collected.named(name)]
        assert below == [span.context.span_id for span in collected.named("invoke_agent")]


def test_the_context_is_carried_over_os_threads_into_the_function(collected):
    seen = []

    def get_weather(city: str) -> str:
        seen.append((threading.get_ident(), baggage.get_baggage("customer")))
        with collected.tracer.start_as_current_span("own span"):
            return "warm"

    def model(request: ModelRequest):
        return "Done" if request.outputs else [ToolCall("get_weather", {"city": "Oslo"})]

    with (
        LocalServer(model) as server,
        Runtime(AssistantsBackend(server.base_url), Settings(heartbeat_interval=0.05), tools=[get_weather]) as runtime,
        collected.instrument(runtime),
        collected.tracer.start_as_current_span("web request"),
    ):
        token = context.attach(baggage.set_baggage("customer", "ann"))
        for _ in runtime.start("asst_1").stream("Hello", timeout=60):
            pass
        context.detach(token)
    assert parents(collected.spans)["own span"] == "execute_tool get_weather"
    assert parents(collected.spans)["invoke_agent"] == "web request"
    [(ident, customer)] = seen
    assert customer == "ann"
    assert ident != threading.get_ident()


def test_after_a_function_its_context_is_no_longer_current(make_runtime, collected):
    runtime = make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    runtime._own_roster.jobs._run_soon = lambda function: function()
    with collected.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=60)
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert collected.named("execute_tool get_weather")


def test_a_message_that_another_process_has_accepted_has_a_trace_of_its_own(collected):
    server, store = SimulatedServer(lambda text: [WEATHER, Answer("Done")]), MemoryStore()
    first = Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler())
    agent = first.start("a")
    agent.add_user_message("Hello")
    scheduler = VirtualScheduler()
    with Runtime(server, store=StoreHandle(store), tools=[get_weather], scheduler=scheduler) as runtime:
        with collected.instrument(runtime):
            runtime.get(agent.thread_id).wait(timeout=60)
        assert parents(collected.spans)["invoke_agent"] is None
        assert parents(collected.spans)["execute_tool get_weather"] == "invoke_agent"
        assert all(span.status.status_code is StatusCode.UNSET for span in collected.spans)


def test_a_run_that_another_process_has_started_has_spans_of_its_functions_only(collected):
    server, store = SimulatedServer(lambda text: [Linger(2), WEATHER, Answer("Done")]), MemoryStore()
    first = Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler())
    agent = first.start("a")
    agent.add_user_message("Hello")
    first.scheduler.settle()
    assert agent.run_id is not None
    with Runtime(server, store=StoreHandle(store), tools=[get_weather], scheduler=VirtualScheduler()) as runtime:
        with collected.instrument(runtime):
            runtime.get(agent.thread_id).wait(timeout=60)
        assert collected.names == ["execute_tool get_weather"]
        [(named, point), _] = collected.points("gen_ai.client.token.usage")
    assert (named["gen_ai.token.type"], point.sum) == ("input", 1)


# --- names and attributes ----------------------------------------------------------------------------------


def test_spans_have_the_names_and_attributes_of_the_conventions(make_runtime, collected):
    runtime = make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    with collected.instrument(runtime, provider_name="azure.ai.openai"):
        agent = runtime.start("asst_1")
        agent.ask("Hello", timeout=60)
    [run] = collected.named("invoke_agent")
    assert run.kind is SpanKind.CLIENT
    assert run.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.conversation.id": agent.thread_id,
        "gen_ai.agent.id": "asst_1",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
    }
    [tool] = collected.named("execute_tool get_weather")
    assert tool.kind is SpanKind.INTERNAL
    assert tool.attributes["gen_ai.tool.call.id"].startswith("call_")
    assert {name: value for name, value in tool.attributes.items() if name != "gen_ai.tool.call.id"} == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.type": "function",
        "gen_ai.conversation.id": agent.thread_id,
    }
    assert {span.kind for span in collected.named("create_run", "get_run")} == {SpanKind.CLIENT}
    assert run.instrumentation_scope.name == "gpt_agent_fsm"
    assert run.instrumentation_scope.schema_url.endswith("/1.41.0")


def test_spans_begin_and_end_by_the_clock_of_the_runtime(make_runtime, collected):
    class Slow(SimulatedServer):
        def create_run(self, *args, **options):
            runtime.scheduler.clock.now += 2
            return super().create_run(*args, **options)

    runtime = make_runtime(server=Slow)
    with collected.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=60)
    [run], [created] = collected.named("invoke_agent"), collected.named("create_run")
    assert created.end_time - created.start_time == pytest.approx(2e9)
    assert run.end_time - run.start_time == pytest.approx((2 + runtime.settings.heartbeat_interval) * 1e9, rel=0.2)


def test_metrics_have_the_buckets_and_attributes_of_the_conventions(make_runtime, collected):
    runtime = make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    with collected.instrument(runtime):
        agent = runtime.start("a")
        agent.ask("Hello", timeout=60)
        agent.ask("Again", timeout=60)
    named = {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai"}
    usage = collected.points("gen_ai.client.token.usage")
    assert [(attributes, point.count, point.sum) for attributes, point in usage] == [
        ({**named, "gen_ai.token.type": "input"}, 2, 2),
        ({**named, "gen_ai.token.type": "output"}, 2, 2),
    ]
    assert usage[0][1].bounds[:4] + usage[0][1].bounds[-1:] == [1, 4, 16, 64, 67108864]
    durations = collected.points("gen_ai.client.operation.duration")
    assert [(attributes, point.count) for attributes, point in durations] == [
        ({**named, "gen_ai.operation.name": "execute_tool"}, 1),
        (named, 2),
    ]
    assert durations[0][1].bounds[:2] + durations[0][1].bounds[-1:] == [0.01, 0.02, 81.92]


# --- errors ------------------------------------------------------------------------------------------------


def error_of(span):
    code = span.attributes.get("error.type")
    assert (span.status.status_code is StatusCode.ERROR) == (code is not None)
    assert span.status.description is None
    return code


def test_a_failed_run_has_the_code_of_its_failure(make_runtime, collected):
    runtime = make_runtime([Fail(RunStatus.FAILED, code="server_error", message=SECRET)])
    with collected.instrument(runtime):
        agent = runtime.start("a")
        with pytest.raises(RunError):
            agent.ask("Hello", timeout=60)
        agent.ask("Again", timeout=60)
    assert [error_of(span) for span in collected.named("invoke_agent")] == ["server_error", None]
    [failed, _] = collected.named("invoke_agent")
    assert failed.attributes["gen_ai.usage.input_tokens"] == 1
    durations = [named.get("error.type") for named, _ in collected.points("gen_ai.client.operation.duration")]
    assert durations == ["server_error", None]


def test_the_tokens_of_failed_runs_are_counted(make_runtime, collected):
    runtime = make_runtime([Fail(RunStatus.FAILED)])
    with collected.instrument(runtime):
        runtime.start("a").add_user_message("Hello")
        runtime.scheduler.advance(60)
        prompt = collected.points("gen_ai.client.token.usage")[0][1].sum
    assert prompt == runtime.usage.prompt_tokens == 1


def test_the_runs_after_a_rate_limit_belong_to_one_span(make_runtime, collected):
    runtime = make_runtime(LIMITED, LIMITED)
    with collected.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=600)
    [run] = collected.named("invoke_agent")
    assert error_of(run) is None
    assert [(event.name, dict(event.attributes)) for event in run.events] == [
        ("rate_limited", {"retries_remaining": 10}),
        ("rate_limited", {"retries_remaining": 9}),
    ]
    assert run.attributes["gen_ai.usage.input_tokens"] == 3
    assert [span.parent.span_id for span in collected.named("create_run")] == [run.context.span_id] * 3


def test_a_run_whose_retries_are_exhausted_has_failed(make_runtime, collected):
    runtime = make_runtime(LIMITED, LIMITED, settings=Settings(rate_limit_max_retries=1))
    with collected.instrument(runtime), pytest.raises(RunError):
        runtime.start("a").ask("Hello", timeout=600)
    assert [error_of(span) for span in collected.named("invoke_agent")] == ["rate_limit_exceeded"]


def test_a_failed_request_has_its_status_and_a_later_attempt_a_span_of_its_own(make_runtime, collected):
    class Limiting(SimulatedServer):
        answers = iter([errors.TransientError(429, None, SECRET), errors.OutcomeUnknown(None, None, SECRET)])

        def create_run(self, *args, **options):
            if error := next(self.answers, None):
                raise error
            return super().create_run(*args, **options)

    runtime = make_runtime(server=Limiting)
    with collected.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=600)
    assert [error_of(span) for span in collected.named("create_run")] == ["429", "OutcomeUnknown", None]
    statuses = [span.attributes.get("http.response.status_code") for span in collected.named("create_run")]
    assert statuses == [429, None, None]
    assert [error_of(span) for span in collected.named("invoke_agent")] == [None]


def test_a_request_that_is_retried_after_the_run_makes_no_failure_of_it(make_runtime, collected):
    class Forgetful(SimulatedServer):
        answers = iter([errors.TransientError(500, None, SECRET)])

        def list_messages(self, *args, **options):
            if error := next(self.answers, None):
                raise error
            return super().list_messages(*args, **options)

    runtime = make_runtime(server=Forgetful)
    with collected.instrument(runtime):
        assert runtime.start("a").ask("Hello", timeout=600).text == "Done"
    assert [error_of(span) for span in collected.named("list_messages", "invoke_agent")] == ["500", None, None]


def test_a_message_that_parks_has_failed_and_has_a_trace_of_its_own_when_it_is_sent_after_all(make_runtime, collected):
    class Denying(SimulatedServer):
        denies = True

        def post_message(self, *args, **options):
            if self.denies:
                raise errors.AccessDenied(401, "invalid_api_key", SECRET)
            return super().post_message(*args, **options)

    runtime = make_runtime(server=Denying)
    with collected.instrument(runtime):
        agent = runtime.start("a")
        with collected.tracer.start_as_current_span("web request"):
            agent.add_user_message("Hello")
        runtime.scheduler.settle()
        assert [error_of(span) for span in collected.named("invoke_agent")] == ["invalid_api_key"]
        runtime._backend.denies = False
        agent.set_assistant_id("b")
        agent.wait(timeout=60)
    assert [error_of(span) for span in collected.named("invoke_agent")] == ["invalid_api_key", None]
    assert [span.parent is None for span in collected.named("invoke_agent")] == [False, True]


def test_a_function_that_fails_has_the_class_of_its_error(make_runtime, collected):
    def get_weather(city: str) -> str:
        raise LookupError(SECRET)

    runtime = make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    with collected.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=60)
    assert [error_of(span) for span in collected.named("execute_tool get_weather")] == ["LookupError"]
    assert [error_of(span) for span in collected.named("invoke_agent")] == [None]


def test_messages_that_are_discarded_have_failed(make_runtime, collected):
    runtime = make_runtime([Linger(1000)])
    with collected.instrument(runtime):
        agent = runtime.start("a")
        for _ in range(3):
            agent.add_user_message("Hello")
        runtime.scheduler.settle()
        agent.discard_queue()
        runtime.scheduler.settle()
        assert [error_of(span) for span in collected.named("invoke_agent")] == ["discarded"] * 2
        agent.cancel_run()
        agent.wait(timeout=600)
    assert error_of(collected.named("invoke_agent")[-1]) == "cancelled"


def test_the_end_of_an_agent_ends_its_spans(make_runtime, collected):
    runtime = make_runtime([Linger(1000)])
    with collected.instrument(runtime):
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        agent.add_user_message("Again")
        runtime.scheduler.settle()
        agent.shutdown()
        runtime.scheduler.settle()
        assert [error_of(span) for span in collected.named("invoke_agent")] == ["shutdown"] * 2


# --- texts -------------------------------------------------------------------------------------------------


def told(collected):
    """Return all that the spans and metrics contain."""
    spans = [(span.name, dict(span.attributes), span.events, span.status.description) for span in collected.spans]
    return repr([spans, collected.points("gen_ai.client.operation.duration")])


def test_no_text_of_the_conversation_is_told(make_runtime, collected):
    runtime = make_runtime([WEATHER, Answer(SECRET)], [Fail(RunStatus.FAILED, message=SECRET)], tools=[get_weather])
    with collected.instrument(runtime):
        agent = runtime.start("a")
        agent.ask(SECRET, timeout=60)
        with pytest.raises(RunError):
            agent.ask(SECRET, timeout=60)
    assert collected.named("execute_tool get_weather")
    assert SECRET not in told(collected)


def test_the_texts_of_messages_are_told_if_somebody_asks_for_them(make_runtime, collected):
    runtime = make_runtime([Answer("It is warm.")])
    with collected.instrument(runtime, capture_content=True):
        runtime.start("a").ask("Is it wärm?", timeout=60)
    [run] = collected.named("invoke_agent")
    assert json.loads(run.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Is it wärm?"}]}
    ]
    assert json.loads(run.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "It is warm."}], "finish_reason": "stop"}
    ]


# --- the end, several runtimes, and broken parts -----------------------------------------------------------


def test_close_ends_what_is_open_and_nothing_is_told_after_it(make_runtime, collected):
    runtime = make_runtime([Linger(5), Answer("Done")])
    instrument = collected.instrument(runtime)
    agent = runtime.start("a")
    agent.add_user_message("Hello")
    runtime.scheduler.settle()
    instrument.close()
    assert [error_of(span) for span in collected.named("invoke_agent")] == [None]
    before = told(collected)
    agent.wait(timeout=600)
    agent.ask("Again", timeout=60)
    instrument.close()
    assert told(collected) == before
    assert runtime._own_roster.trace.hooks == ()
    assert not any(signal.receivers for signal in (*signals.by_class.values(), signals.event))


def test_a_runtime_is_told_to_its_own_instrument_only(make_runtime):
    told_of, runtimes = [Collected(), Collected()], [make_runtime(), make_runtime()]
    with told_of[0].instrument(runtimes[0]), told_of[1].instrument(runtimes[1]):
        agents = [runtime.start("a") for runtime in runtimes]
        assert agents[0].thread_id == agents[1].thread_id
        agents[0].ask("Hello", timeout=60)
        agents[1].ask("Hello", timeout=60)
        agents[1].ask("Again", timeout=60)
    assert [len(each.named("invoke_agent")) for each in told_of] == [1, 2]
    assert [each.points("gen_ai.client.token.usage")[0][1].count for each in told_of] == [1, 2]


def test_two_runtimes_may_use_one_meter(make_runtime, collected):
    runtimes = [make_runtime(), make_runtime()]
    with collected.instrument(runtimes[0]), collected.instrument(runtimes[1]):
        for runtime in runtimes:
            runtime.start("a").ask("Hello", timeout=60)
    assert collected.points("gen_ai.client.token.usage")[0][1].count == 2


class CrashedExporter(SpanExporter):
    def export(self, spans):
        raise OSError("the disk is full")


class CrashedProcessor(SpanProcessor):
    def __init__(self, *methods):
        self.crashes = 0
        for method in methods:
            setattr(self, method, self.crash)

    def crash(self, *args, **options):
        self.crashes += 1
        raise OSError("the disk is full")


@pytest.mark.parametrize(
    "processor",
    [SimpleSpanProcessor(CrashedExporter()), CrashedProcessor("on_start"), CrashedProcessor("on_end")],
    ids=["the exporter", "the start of a span", "the end of a span"],
)
def test_a_crashed_exporter_harms_nothing(make_runtime, processor, caplog):
    caplog.set_level(logging.CRITICAL)
    collected, runtime = Collected(processor), make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    runtime._own_roster.jobs._run_soon = lambda function: function()
    with collected.instrument(runtime):
        agent = runtime.start("a")
        assert agent.ask("Hello", timeout=60).text == "Done"
        assert agent.ask("Again", timeout=60).text == "Done"
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert runtime._own_roster.trace.hooks == ()


def test_close_ends_every_span_even_if_an_exporter_crashes(make_runtime):
    crashed, runtime = CrashedProcessor("on_end"), make_runtime()
    with Collected(crashed).instrument(runtime):
        for _ in range(2):
            runtime.start("a").add_user_message("Hello")
    assert crashed.crashes == 2


def test_without_providers_the_global_ones_are_used(make_runtime, monkeypatch, collected):
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: collected.tracers)
    runtime = make_runtime()
    with otel.instrument(runtime):
        runtime.start("a").ask("Hello", timeout=60)
    assert collected.named("invoke_agent")


def test_an_instrument_does_not_count_as_somebody_who_answers_a_call(make_runtime, collected):
    runtime = make_runtime([Call((("unknown", "{}"),)), Answer("Done")], tools=[get_weather])
    with collected.instrument(runtime, capture_content=True):
        assert runtime.start("a").ask("Hello", timeout=10).text == "Done"


def test_the_next_agent_of_a_thread_continues_the_span_of_its_message(make_runtime, collected):
    runtime = make_runtime()
    with collected.instrument(runtime):
        former = runtime.start("asst_1")
        former.shutdown()
        agent = runtime.connect(thread_id=former.thread_id, assistant_id="asst_1", last_message_id=None)
        with collected.tracer.start_as_current_span("caller") as caller:
            agent.add_user_message("Hello")
        assert agent.wait(timeout=600) == "idle"
    (span,) = collected.named("invoke_agent")
    assert span.parent.span_id == caller.get_span_context().span_id
    assert error_of(span) is None
