"""Runs: polling, rate limits, and every way to end."""

import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    Story,
    awaiting,
    busy,
    cancel,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    deny_the_poll,
    due,
    failed,
    idle,
    page,
    polling,
    posted,
    rate_limit,
    refuse_the_poll,
    refused,
    retrying,
    run,
    running,
    runs,
    say,
    seen,
    submitting,
    unknown,
)

POLL = effects.GetRun(run_id="run_1")


# --- polling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RunStatus.ACTIVE, RunStatus.CANCELLING])
def test_a_run_in_progress_is_polled_each_heartbeat(status):
    story = running().tell(due)
    assert story.request == POLL
    story.tell(seen(status))
    assert story.wait == effects.Wait(seconds=1)
    assert story.state == "running"
    assert story.events == ()


def test_a_run_is_polled_within_the_idle_timeout_even_if_the_poll_interval_is_longer():
    assert running(idle_timeout=0.5).wait == effects.Wait(seconds=0.5)


def test_a_fact_about_another_run_is_ignored():
    story = polling()
    before = story.snapshot
    story.tell(completed("run_0"))
    assert story.ignored == "run run_0 is not the run in progress"
    assert story.snapshot == before


@pytest.mark.parametrize("make", [idle, failed, retrying])
def test_a_fact_about_a_run_that_is_over_is_ignored(make):
    story = make()
    before = story.snapshot
    story.tell(completed())
    assert story.ignored == "that run is over"
    assert story.snapshot == before


def test_failed_polls_are_repeated_without_a_limit_and_the_state_stays():
    story = polling()
    for attempt in range(1, 20):
        story.tell(delayed())
        assert (story.only.attempt, story.only.will_retry) == (attempt, True)
        assert story.state == "running"
        story.tell(due)
        assert story.request == POLL


def test_the_pause_between_attempts_doubles_up_to_its_limit():
    story, waits = polling(), []
    for _ in range(4):
        waits.append(story.tell(delayed()).wait)
        story.tell(due)
    assert waits == [effects.Wait(seconds=half, spread=half) for half in (1, 2, 3, 3)]


def test_an_attempt_that_succeeds_restarts_the_count():
    story = polling().tell(delayed(), due, seen(), due, delayed())
    assert story.only.attempt == 1


def test_the_server_is_given_the_time_it_asks_for():
    assert polling().tell(delayed(retry_after=50)).wait == effects.Wait(seconds=50, spread=1)


def test_a_run_that_the_server_denies_is_lost():
    story = refuse_the_poll(polling())
    assert story.said == ["RequestFailed", "RunFailed"]
    assert (story.events[1].id, story.events[1].code, story.events[1].message) == ("run_1", "not_found", "No")
    assert story.state == "failed"
    assert story.snapshot.settled


@pytest.mark.parametrize("status", [404, 405, 410, 412, 421])
def test_a_poll_that_is_refused_once_or_twice_is_repeated_because_another_server_may_have_answered(status):
    story = polling().tell(refused(status))
    assert (story.only.will_retry, story.only.operation, story.state) == (True, "get_run", "running")
    assert story.tell(due, refused(status)).only.will_retry
    assert story.tell(due, seen()).said == []
    assert story.snapshot.pending.failures == 0


@pytest.mark.parametrize("trouble", [delayed(), denied()], ids=["delayed", "denied"])
def test_polls_that_failed_for_another_reason_do_not_count_as_refused(trouble):
    story = polling().tell(trouble, due, trouble, due, refused(404))
    assert (story.said, story.state) == (["RequestFailed"], "running")
    assert refuse_the_poll(polling().tell(refused(404), due, seen(), due)).said == ["RequestFailed", "RunFailed"]


POLLS = {
    "running": polling,
    "awaiting": lambda: awaiting(LOCATE).tell(due),
    "submitting": lambda: submitting().tell(unknown(), due),
}


@pytest.mark.parametrize("make", POLLS.values(), ids=POLLS)
def test_a_run_that_must_be_cancelled_is_cancelled_although_the_poll_is_refused(make):
    story = make()
    assert story.request == effects.GetRun(run_id="run_1", in_doubt=story.state == "submitting")
    story.tell(cancel, refused(404))
    assert (story.said, story.state) == (["RequestFailed"], "running")
    assert story.request == effects.CancelRun(run_id="run_1")
    story.tell(refused(404), refused(404), due, refused(404), due, refused(404))
    assert (story.said, story.state) == (["RequestFailed", "RunFailed"], "failed")


def test_a_poll_that_is_denied_begins_the_count_of_refused_polls_again():
    story = polling().tell(refused(404), due, denied(), due, refused(404))
    assert story.snapshot.run.refused_polls == 1


@pytest.mark.parametrize(
    ("make", "between"),
    [
        (lambda: running().tell(cancel, refused()), delayed()),
        (lambda: running().tell(cancel, refused()), seen(RunStatus.CANCELLING)),
        (polling, delayed()),
        (polling, seen()),
    ],
)
def test_refused_polls_count_only_if_nothing_comes_between_them(make, between):
    story = make()
    for _ in range(3):
        story.tell(refused(404), due, between, due)
    assert story.state == "running"


def test_a_wrong_key_abandons_the_run_and_the_next_command_finds_it_again():
    story = deny_the_poll(polling())
    assert story.said == ["RequestFailed"]
    assert story.state == "failed"
    assert story.snapshot.settled
    assert story.snapshot.run_id is None
    story.tell(say("Two", "k2"))
    assert story.request == effects.GetLatestRun()
    assert story.tell(runs(run())).state == "running"


def test_an_exhausted_balance_during_a_poll_names_the_run():
    story = polling().tell(denied(quota=True))
    assert story.events[1] == events.OrganizationQuotaExceeded(
        run_id="run_1", thread_id="thread_1", assistant_id="asst_1"
    )


def test_a_known_run_is_not_searched_for_when_the_agent_is_connected_again():
    story = polling().tell(connect, completed())
    assert story.request == effects.ListMessages(after=None)


# --- ends ------------------------------------------------------------------------------------------------


def test_a_server_that_blocks_until_the_run_is_over_is_understood():
    story = creating().tell(created(RunStatus.COMPLETED))
    assert story.said == ["RunStarted", "RunCompleted"]
    assert [e.dest for e in story.events if isinstance(e, events.StateChanged)] == ["running", "idle"]
    assert story.request == effects.ListMessages(after=None)


@pytest.mark.parametrize("make", [polling, awaiting, submitting])
@pytest.mark.parametrize("ending", ["completed", "failed", "rate", "quota"])
def test_a_run_may_end_in_every_state_that_polls_it(make, ending):
    facts = {
        "completed": completed(),
        "failed": seen(RunStatus.FAILED, code="expired", message="m"),
        "rate": rate_limit(),
        "quota": seen(RunStatus.OUT_OF_QUOTA, code="rate_limit_exceeded", message="quota"),
    }
    said = {
        "completed": ["RunCompleted"],
        "failed": ["RunFailed"],
        "rate": ["RateLimited"],
        "quota": ["OrganizationQuotaExceeded", "RunFailed"],
    }
    states = {"completed": "idle", "failed": "failed", "rate": "rate_limited", "quota": "failed"}
    story = make().tell(facts[ending])
    assert story.said == said[ending]
    assert story.state == states[ending]
    assert not story.snapshot.calls or ending == "rate"


def test_a_failed_run_is_announced_with_its_code_and_message():
    story = polling().tell(seen(RunStatus.FAILED, code="server_error", message="Sorry"))
    assert story.only == events.RunFailed(
        id="run_1", thread_id="thread_1", assistant_id="asst_1", code="server_error", message="Sorry"
    )
    assert story.wait == effects.Wait(seconds=120)


def test_a_run_out_of_quota_is_not_retried():
    story = polling().tell(seen(RunStatus.OUT_OF_QUOTA, code="rate_limit_exceeded", message="quota"))
    assert story.events[0] == events.OrganizationQuotaExceeded(
        run_id="run_1", thread_id="thread_1", assistant_id="asst_1"
    )
    assert story.wait == effects.Wait(seconds=120)


# --- rate limits --------------------------------------------------------------------------------------------


def test_a_rate_limited_run_is_started_again_after_the_delay_without_posting_again():
    story = polling().tell(rate_limit())
    assert story.only == events.RateLimited(
        run_id="run_1", thread_id="thread_1", assistant_id="asst_1", retries_remaining=2
    )
    assert story.state == "rate_limited"
    assert story.wait == effects.Wait(seconds=20)
    story.tell(due)
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_1")
    assert story.state == "rate_limited"
    story.tell(created(run_id="run_2"))
    assert story.said == ["RunStarted"]
    assert story.state == "running"


def test_retries_count_down_to_zero_and_are_then_exhausted_without_run_failed():
    story, remaining = polling(), []
    for number in (1, 2):
        story.tell(rate_limit(f"run_{number}"))
        remaining.append(story.only.retries_remaining)
        story.tell(due, created(run_id=f"run_{number + 1}"), due)
    story.tell(rate_limit("run_3"))
    assert remaining == [2, 1]
    assert story.said == ["RateLimited", "RateLimitRetriesExhausted"]
    assert story.events[0].retries_remaining == 0
    assert story.events[1] == events.RateLimitRetriesExhausted(
        run_id="run_3", thread_id="thread_1", assistant_id="asst_1"
    )
    assert story.state == "failed"
    assert story.snapshot.settled


def test_the_count_of_retries_restarts_for_each_user_message():
    story = retrying().tell(created(run_id="run_2"), due, completed("run_2"), page())
    story.tell(say("Two", "k2"), posted("msg_3"), created(run_id="run_3"), due, rate_limit("run_3"))
    assert story.only.retries_remaining == 2
    assert story.tell(due).request == effects.CreateRun(key="k2.2", assistant_id="asst_1")


def test_an_adopted_run_that_is_rate_limited_is_started_again_as_well():
    story = Story().tell(connect, runs(run(run_id="run_9")), rate_limit("run_9"))
    assert story.only.retries_remaining == 2
    assert story.tell(due).request == effects.CreateRun(key="run_9.1", assistant_id="asst_1")


def test_a_retry_that_fails_is_repeated_and_keeps_the_state():
    story = retrying().tell(delayed())
    assert story.state == "rate_limited"
    assert story.tell(due).request == effects.CreateRun(key="k1.2", assistant_id="asst_1")


def test_a_retry_that_cannot_be_started_is_parked_and_tried_again_with_the_next_command():
    story = retrying(request_max_attempts=1).tell(delayed())
    assert story.state == "failed"
    assert story.snapshot.settled
    story.tell(inputs.SetAssistant(assistant_id="asst_2"))
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_2")


@pytest.mark.parametrize("no", [refused(404), denied()])
def test_a_retry_that_is_refused_is_parked(no):
    story = retrying().tell(no)
    assert story.state == "failed"
    assert story.only.will_retry is False
    assert story.snapshot.outbox.owed


def test_a_run_that_blocks_a_retry_is_adopted():
    story = retrying().tell(busy(), runs(run(run_id="run_9", key="other")))
    assert story.state == "running"
    assert story.request == effects.GetRun(run_id="run_9")


def test_a_thread_that_stays_busy_for_a_retry_is_given_up():
    story = retrying(request_max_attempts=1).tell(busy())
    assert story.state == "failed"
