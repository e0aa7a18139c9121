"""The loop that repeats a request for a caller who waits."""

import random

import pytest

from gpt_agent_fsm.engine.retrying import call_with_retries
from gpt_agent_fsm.errors import RequestRefused, ThreadBusy, TransientError
from gpt_agent_fsm.settings import Settings

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
            rng=random.Random(1),
            on_failure=lambda error, attempt, pause: self.failures.append((error, attempt, pause)),
            **{"longest_wait": 300.0} | options,
        )


def transient(**kwargs):
    return TransientError(None, None, "Nobody.", **kwargs)


def test_pauses_grow_up_to_the_longest_with_half_of_each_left_to_chance():
    caller = Caller(*[transient()] * 3)
    assert caller.call() == "done"
    assert len(caller.pauses) == 3
    for pause, longest in zip(caller.pauses, [2, 4, 6], strict=True):
        assert longest / 2 <= pause <= longest


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


@pytest.mark.parametrize(
    ("status", "allowed", "at_least", "calls"),
    [(None, 8, 1, 3), (None, 2, 3, 2), (200, 8, 1, 3), (200, 2, 1, 2), (200, 2, 3, 3)],
)
def test_an_error_that_is_likely_permanent_gets_few_attempts(status, allowed, at_least, calls):
    caller = Caller(*[TransientError(status, None, "M", hopeless=True)] * 9)
    with pytest.raises(TransientError):
        caller.call(Settings(request_max_attempts=allowed), min_attempts_if_answered=at_least)
    assert caller.calls == calls
