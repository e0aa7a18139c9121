"""The tokens of runs that have ended."""

from types import SimpleNamespace

import pytest

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.ports import Usage
from gpt_agent_fsm.telemetry import otel, prometheus
from gpt_agent_fsm.telemetry.watching import ends_of_runs

OF_RUN = {"thread_id": "thread_1", "assistant_id": "a"}
STARTED = events.RunStarted(id="run_1", **OF_RUN)
FAILED = events.RunFailed(id="run_1", code="server_error", message="Sorry", **OF_RUN)
LIMITED = events.RateLimited(run_id="run_1", retries_remaining=3, **OF_RUN)
COMPLETED = events.RunCompleted(id="run_1", prompt_tokens=5, completion_tokens=2, total_tokens=7, **OF_RUN)
STOPPED = events.AgentStopped(thread_id="thread_1", reason="shutdown")


@pytest.fixture
def tell():
    """Report an event after which the thread has used these tokens, and return the ends of runs so far."""
    ends = []
    handlers = ends_of_runs(lambda event, tokens: ends.append((event, tokens)))

    def tell(event, prompt, completion):
        agent = SimpleNamespace(usage=Usage(prompt_tokens=prompt, completion_tokens=completion))
        handlers[signals.by_class[type(event)]](agent, event)
        return ends

    return tell


@pytest.mark.parametrize("end", [FAILED, LIMITED])
def test_a_run_that_has_failed_has_the_tokens_by_which_the_usage_has_grown(tell, end):
    tell(STARTED, 10, 1)
    assert tell(end, 13, 2) == [(end, (3, 1))]
    tell(STARTED, 13, 2)
    assert tell(FAILED, 17, 2)[1:] == [(FAILED, (4, 0))]


def test_a_run_that_has_completed_has_its_own_tokens_even_if_it_was_started_elsewhere(tell):
    assert tell(COMPLETED, 105, 52) == [(COMPLETED, (5, 2))]


def test_the_tokens_of_a_failed_run_are_unknown_if_somebody_else_may_have_used_some_of_them(tell):
    assert tell(FAILED, 10, 1) == [(FAILED, (0, 0))]
    tell(STARTED, 10, 1)
    tell(STOPPED, 10, 1)
    assert tell(FAILED, 50, 9)[1:] == [(FAILED, (0, 0))]


@pytest.mark.parametrize("wrong", [None, "runtime"])
def test_only_a_runtime_can_be_instrumented(wrong):
    for instrument in (otel.instrument, prometheus.instrument):
        with pytest.raises(TypeError, match=f"must be a Runtime, not {wrong!r}"):
            instrument(wrong)
