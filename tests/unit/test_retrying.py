"""The loop that repeats a request for a caller who waits."""

import random
import traceback
from types import SimpleNamespace

import pytest

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.retrying import WaitingCaller, call_with_retries
from gpt_agent_fsm.errors import RequestRefused, ThreadBusy, TransientError
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing import VirtualScheduler

SETTINGS = Settings(request_max_attempts=4, request_retry_delay=2, request_retry_max_delay=6)


class Caller:
    """Makes a request whose first answers are these errors, and keeps what happened."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0
        self.pauses = []
        self.failures = []

    def request(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def call(self, settings=SETTINGS, **options):
        return call_with_retries(
            self.request,
            settings=settings,
            sleep=self.pauses.append,
            on_failure=lambda error, attempt, pause: self.failures.append((error, attempt, pause)),
            **{"longest_wait": 300.0, "rng": random.Random(1)} | options,
        )


def transient(**kwargs):
    return TransientError(None, None, "Nobody.", **kwargs)


def test_pauses_grow_up_to_the_longest_with_half_of_each_left_to_chance():
    caller = Caller(*[transient()] * 3)
    assert caller.call() == "done"
    assert len(caller.pauses) == 3
    for pause, longest in zip(caller.pauses, [2, 4, 6], strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("choose", "pauses"), [(min, [1, 2, 3]), (max, [2, 4, 6])])
def test_a_pause_is_at_least_half_of_its_longest_time_and_at_most_all_of_it(choose, pauses):
    caller = Caller(*[transient()] * 3)
    caller.call(rng=SimpleNamespace(uniform=choose))
    assert caller.pauses == pauses


def test_a_short_pause_is_not_made_longer():
    caller = Caller(transient())
    caller.call(Settings(request_retry_delay=0.1), rng=SimpleNamespace(uniform=max))
    assert caller.pauses == [0.1]


def test_each_failure_is_reported_with_its_attempt_and_the_pause_after_it():
    caller = Caller(*[transient()] * 4)
    with pytest.raises(TransientError):
        caller.call()
    assert [attempt for _, attempt, _ in caller.failures] == [1, 2, 3, 4]
    assert [pause for *_, pause in caller.failures] == [*caller.pauses, None]


def test_the_server_may_ask_for_a_longer_pause():
    caller = Caller(transient(retry_after=77.0))
    caller.call()
    assert caller.pauses == [77.0]


def test_a_pause_exactly_as_long_as_the_caller_accepts_is_made():
    caller = Caller(transient(retry_after=77.0))
    assert caller.call(longest_wait=77.0) == "done"


def test_a_pause_longer_than_the_caller_accepts_ends_the_attempts():
    caller = Caller(transient(retry_after=77.0))
    with pytest.raises(TransientError):
        caller.call(longest_wait=76.0)
    assert caller.calls == 1


def test_an_error_that_is_not_named_is_raised_at_once_and_not_reported():
    caller = Caller(RequestRefused(400, None, "No."))
    with pytest.raises(RequestRefused):
        caller.call()
    assert (caller.calls, caller.failures) == (1, [])


def test_the_caller_may_name_more_errors():
    caller = Caller(ThreadBusy(400, None, "In use."))
    assert caller.call(retry_on=(TransientError, ThreadBusy)) == "done"


def test_an_error_that_the_caller_named_gets_all_attempts():
    caller = Caller(*[ThreadBusy(400, None, "In use.")] * 9)
    with pytest.raises(ThreadBusy):
        caller.call(retry_on=(ThreadBusy,))
    assert caller.calls == 4


@pytest.mark.parametrize(
    ("status", "allowed", "at_least", "calls"),
    [(None, 8, 1, 3), (None, 2, 3, 2), (200, 8, 1, 3), (200, 2, 1, 2), (200, 2, 3, 3)],
)
def test_an_error_that_is_likely_permanent_gets_few_attempts(status, allowed, at_least, calls):
    caller = Caller(*[TransientError(status, None, "M", hopeless=True)] * 9)
    with pytest.raises(TransientError):
        caller.call(Settings(request_max_attempts=allowed), min_attempts_if_answered=at_least)
    assert caller.calls == calls


def test_an_error_that_becomes_likely_permanent_after_its_few_attempts_is_the_last():
    caller = Caller(*[transient()] * 5, *[transient(hopeless=True)] * 9)
    with pytest.raises(TransientError):
        caller.call(Settings(request_max_attempts=8))
    assert caller.calls == 6


def test_a_caller_who_asks_for_no_minimum_gets_as_few_attempts_as_the_settings_allow():
    caller = Caller(*[TransientError(200, None, "M", hopeless=True)] * 9)
    with pytest.raises(TransientError):
        caller.call(Settings(request_max_attempts=1))
    assert caller.calls == 1


# --- before there is an agent -----------------------------------------------------------------------------------


def announce(caller, thread_id):
    """Make the caller's request as the runtime does before there is an agent."""
    waiting = WaitingCaller(SETTINGS, VirtualScheduler(), random.Random(1), lambda: None)
    return waiting.request("get_thread", thread_id, caller.request)


def test_each_failed_attempt_is_announced_by_keyword_and_without_a_sender():
    heard = []

    def receiver(sender, **named):
        event = named["event"]
        heard.append((sender, event.operation, event.thread_id, event.attempt, event.will_retry))

    with signals.request_failed.connected_to(receiver), pytest.raises(TransientError):
        announce(Caller(*[transient()] * 9), "thread_1")
    assert heard == [(None, "get_thread", "thread_1", attempt, attempt < 4) for attempt in (1, 2, 3, 4)]


@pytest.mark.parametrize(("thread_id", "named"), [("thread_1", "thread_1: "), ("", "get_thread: ")])
def test_the_log_names_the_thread_or_else_the_operation_when_a_handler_fails(caplog, thread_id, named):
    def receiver(sender, event):
        raise ValueError("mine")

    with signals.request_failed.connected_to(receiver):
        assert announce(Caller(transient()), thread_id) == "done"
    assert f"{named}handler" in caplog.text


def test_a_person_sees_the_sentence_and_the_frames_above_the_request_and_the_log_has_the_rest(caplog):
    def deep(depth=20):
        if depth:
            deep(depth - 1)
        raise RequestRefused(401, None, "Set OPENAI_API_KEY.") from OSError("internal")

    caller = WaitingCaller(SETTINGS, VirtualScheduler(), random.Random(1), lambda: None)
    with caplog.at_level("DEBUG", "gpt_agent_fsm"), pytest.raises(RequestRefused) as raised:
        caller.request("create_thread", "", deep)
    text = "".join(traceback.format_exception(raised.value))
    assert text.endswith("Set OPENAI_API_KEY. (HTTP 401)\n")
    assert "internal" not in text
    assert "in deep" not in text
    assert "create_thread failed" in caplog.text
    assert "internal" in caplog.text
