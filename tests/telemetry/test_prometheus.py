"""Metrics for Prometheus: what they count, what several runtimes share, and when they are unregistered."""

import re

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest

from gpt_agent_fsm import Settings, errors, signals
from gpt_agent_fsm.errors import RunError
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.telemetry import prometheus
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer

SECRET = "the moon is made of cheese"
WEATHER = Call((("get_weather", '{"city":"' + SECRET + '"}'),))


def get_weather(city: str) -> str:
    return SECRET


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def value(registry):
    """Return the value of a metric, whose name is given without its beginning."""

    def value(name, **labels):
        return registry.get_sample_value(f"gpt_agent_fsm_{name}", labels)

    return value


def threads(value):
    states = ("idle", "running", "awaiting_tools", "submitting", "rate_limited", "failed")
    return {state: value("threads", state=state) for state in states if value("threads", state=state)}


def ends(value):
    names = ("completed", "failed", "rate_limited", "cancelled", "expired", "timeout")
    return {end: value("runs_total", end=end) for end in names if value("runs_total", end=end)}


def test_the_names_and_labels_are_those_of_the_page(make_runtime, registry):
    runtime = make_runtime([WEATHER, Answer("Done")], tools=[get_weather])
    with prometheus.instrument(runtime, registry):
        runtime.start("a").ask("Hello", timeout=60)
        text = generate_latest(registry).decode()
    assert set(re.findall(r"^# TYPE (\S+ \S+)$", text, re.MULTILINE)) == {
        "gpt_agent_fsm_threads gauge",
        "gpt_agent_fsm_queue_length gauge",
        "gpt_agent_fsm_stalled_threads gauge",
        "gpt_agent_fsm_runs_total counter",
        "gpt_agent_fsm_tokens_total counter",
        "gpt_agent_fsm_request_seconds histogram",
        "gpt_agent_fsm_tool_seconds histogram",
        "gpt_agent_fsm_tick_lateness_seconds histogram",
        "gpt_agent_fsm_commit_seconds histogram",
        *(
            f"gpt_agent_fsm_{name}_created gauge"
            for name in ("runs", "tokens", "request_seconds", "tool_seconds", "tick_lateness_seconds", "commit_seconds")
        ),
    }
    assert SECRET not in text


def test_every_state_and_every_end_is_there_before_anything_happens(make_runtime, registry, value):
    with prometheus.instrument(make_runtime(), registry):
        assert value("threads", state="rate_limited") == 0
        assert value("runs_total", end="expired") == 0
        assert value("queue_length") == value("stalled_threads") == 0


def test_threads_are_counted_by_state_with_their_queues(make_runtime, registry, value):
    runtime = make_runtime([Linger(100)], [WEATHER])
    with prometheus.instrument(runtime, registry):
        runtime.start("a")
        for messages in (3, 1):
            agent = runtime.start("a")
            for _ in range(messages):
                agent.add_user_message("Hello")
            runtime.scheduler.advance(2)
        assert threads(value) == {"idle": 1, "running": 1, "awaiting_tools": 1}
        assert value("queue_length") == 2
        agent.shutdown()
        assert threads(value) == {"idle": 1, "running": 1}


def test_a_thread_that_has_waited_for_long_is_stalled_until_it_continues(make_runtime, registry, value):
    runtime = make_runtime([Linger(1000)], settings=Settings(stall_after=60))
    with prometheus.instrument(runtime, registry):
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        runtime.scheduler.advance(59)
        assert value("stalled_threads") == 0
        runtime.scheduler.advance(10)
        assert value("stalled_threads") == 1
        agent.cancel_run()
        agent.wait(timeout=60)
        assert value("stalled_threads") == 0


def test_runs_are_counted_by_their_end(make_runtime, registry, value):
    limited = [Fail(RunStatus.RATE_LIMITED)]
    plans = [[Answer("Done")], limited, limited, [Answer("Done")], [Fail(code="server_error")], [Fail(code="expired")]]
    runtime = make_runtime(*plans, [Linger(100)])
    with prometheus.instrument(runtime, registry):
        agent = runtime.start("a")
        for _ in range(4):
            agent.add_user_message("Hello")
            agent.wait(timeout=600)
        agent.add_user_message("Hello")
        runtime.scheduler.settle()
        agent.cancel_run()
        agent.wait(timeout=600)
        assert ends(value) == {"completed": 2, "rate_limited": 2, "failed": 1, "expired": 1, "cancelled": 1}


def test_all_tokens_are_counted_even_those_of_failed_runs(make_runtime, registry, value):
    runtime = make_runtime([Answer("Done")], [Fail(RunStatus.RATE_LIMITED)], [Fail()])
    with prometheus.instrument(runtime, registry):
        agent = runtime.start("a")
        agent.ask("Hello", timeout=60)
        with pytest.raises(RunError):
            agent.ask("Hello", timeout=600)
        assert agent.usage.prompt_tokens == 3
        assert value("tokens_total", kind="prompt") == 3
        assert value("tokens_total", kind="completion") == 1


def test_requests_are_measured_by_operation_and_outcome(make_runtime, registry, value):
    class Limiting(SimulatedServer):
        answers = iter([errors.TransientError(429, None, SECRET)])

        def create_run(self, *args, **options):
            runtime.scheduler.clock.now += 2
            if error := next(self.answers, None):
                raise error
            return super().create_run(*args, **options)

    runtime = make_runtime(server=Limiting)
    with prometheus.instrument(runtime, registry):
        runtime.start("a").ask("Hello", timeout=600)
        for outcome in ("429", "ok"):
            found = {"operation": "create_run", "outcome": outcome}
            assert value("request_seconds_count", **found) == 1
            assert value("request_seconds_sum", **found) == 2
            assert value("request_seconds_bucket", **found, le="1.0") == 0
            assert value("request_seconds_bucket", **found, le="2.5") == 1


def test_functions_late_ticks_and_transactions_are_measured(make_runtime, registry, value):
    class Slow(MemoryStore):
        def commit(self, *args, **options):
            runtime.scheduler.clock.now += 0.25
            return super().commit(*args, **options)

    def get_weather(city: str) -> str:
        runtime.scheduler.clock.now += 5
        raise LookupError(SECRET)

    runtime = make_runtime([WEATHER, Answer("Done")], store=Slow(), tools=[get_weather])
    runtime._own_roster.jobs._run_soon = lambda function: function()
    with prometheus.instrument(runtime, registry):
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        runtime.scheduler.sleep(3)
        agent.wait(timeout=60)
        assert value("tool_seconds_sum", tool="get_weather", outcome="LookupError") == 5
        assert value("commit_seconds_sum") == 0.25 * value("commit_seconds_count") > 0
        assert value("tick_lateness_seconds_bucket", le="1.0") < value("tick_lateness_seconds_count")


# --- several runtimes, and the end -------------------------------------------------------------------------


def test_runtimes_with_one_registry_add_up_and_the_last_one_unregisters(make_runtime, registry, value):
    runtimes = [make_runtime(), make_runtime()]
    instruments = [prometheus.instrument(runtime, registry) for runtime in runtimes]
    agents = [runtime.start("a") for runtime in runtimes]
    assert agents[0].thread_id == agents[1].thread_id
    for agent in agents:
        agent.ask("Hello", timeout=60)
    assert threads(value) == {"idle": 2}
    assert ends(value) == {"completed": 2}
    instruments[0].close()
    instruments[0].close()
    agents[0].ask("Again", timeout=60)
    agents[1].ask("Again", timeout=60)
    assert threads(value) == {"idle": 1}
    assert ends(value) == {"completed": 3}
    instruments[1].close()
    assert generate_latest(registry) == b""
    assert all(runtime._own_roster.trace.hooks == () for runtime in runtimes)
    assert not any(signal.receivers for signal in (*signals.by_class.values(), signals.event))
    with prometheus.instrument(runtimes[0], registry):
        assert ends(value) == {}


def test_runtimes_with_two_registries_share_nothing(make_runtime, registry, value):
    another = CollectorRegistry()
    runtimes = [make_runtime(), make_runtime()]
    with prometheus.instrument(runtimes[0], registry), prometheus.instrument(runtimes[1], another):
        runtimes[1].start("a").ask("Hello", timeout=60)
        assert ends(value) == {}
        assert another.get_sample_value("gpt_agent_fsm_runs_total", {"end": "completed"}) == 1


def test_a_runtime_that_is_measured_already_is_refused(make_runtime, registry):
    runtime = make_runtime()
    with (
        prometheus.instrument(runtime, registry),
        pytest.raises(ValueError, match="instrumented with this registry already"),
    ):
        prometheus.instrument(runtime, registry)


def test_a_name_that_is_taken_is_refused_and_nothing_stays_behind(make_runtime, registry):
    taken = Counter("gpt_agent_fsm_runs", "Another library", registry=(busy := CollectorRegistry(auto_describe=True)))
    runtime = make_runtime()
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus.instrument(runtime, busy)
    assert runtime._own_roster.trace.hooks == ()
    busy.unregister(taken)
    prometheus.instrument(runtime, busy).close()


def test_without_a_registry_the_one_of_the_process_is_used(make_runtime):
    with prometheus.instrument(make_runtime()):
        assert REGISTRY.get_sample_value("gpt_agent_fsm_queue_length") == 0
    assert REGISTRY.get_sample_value("gpt_agent_fsm_queue_length") is None


def test_a_runtime_that_was_closed_has_no_threads(make_runtime, registry, value):
    runtime = make_runtime()
    with prometheus.instrument(runtime, registry):
        runtime.start("a").ask("Hello", timeout=60)
        runtime.close()
        assert threads(value) == {}
        assert ends(value) == {"completed": 1}


def test_an_instrument_does_not_count_as_somebody_who_answers_a_call(make_runtime, registry):
    runtime = make_runtime([Call((("unknown", "{}"),)), Answer("Done")], tools=[get_weather])
    with prometheus.instrument(runtime, registry):
        assert runtime.start("a").ask("Hello", timeout=10).text == "Done"
