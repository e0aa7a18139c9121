"""Cancelling a run: at once, after what is under way, too late, or before it exists."""

import pytest

from gpt_agent_fsm.machine import effects
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    MEASURE,
    awaiting,
    cancel,
    completed,
    created,
    creating,
    delayed,
    denied,
    due,
    failed,
    idle,
    needs,
    output,
    page,
    parked,
    polling,
    posted,
    rate_limit,
    rate_limited,
    reading,
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
CANCEL = effects.CancelRun(run_id="run_1")


@pytest.mark.parametrize("make", [running, awaiting], ids=["running", "awaiting"])
def test_a_run_is_cancelled_at_once(make):
    story = make().tell(cancel)
    assert story.request == CANCEL
    story.tell(seen(RunStatus.CANCELLING))
    assert story.state == "running"
    story.tell(due, seen(RunStatus.FAILED, code="cancelled", message="m"))
    assert story.only.code == "cancelled"
    assert story.state == "failed"


@pytest.mark.parametrize("make", [polling, submitting], ids=["polling", "submitting"])
def test_a_run_with_a_request_under_way_is_cancelled_after_it(make):
    story = make().tell(cancel)
    assert story.effects == ()
    story.tell(needs(LOCATE, MEASURE))
    assert story.request == CANCEL
    assert story.state == "running"
    assert story.said == []
    story.tell(seen())
    assert story.wait == effects.Wait(seconds=1)


def test_cancelling_twice_asks_once():
    story = running().tell(cancel, cancel)
    assert story.effects == ()
    assert story.tell(seen(RunStatus.CANCELLING)).wait == effects.Wait(seconds=1)
    story = running().tell(cancel, delayed(), cancel)
    assert story.effects == ()
    assert story.tell(due).request == CANCEL


def test_the_last_output_does_not_replace_a_cancel_that_waits():
    story = awaiting(LOCATE).tell(cancel, delayed(), output(LOCATE))
    assert story.state == "submitting"
    assert story.request is None
    assert story.tell(due).request == CANCEL


def test_a_cancel_that_comes_too_late_leads_to_a_look():
    story = running().tell(cancel, refused())
    assert story.request == POLL
    assert story.events == ()
    assert story.tell(completed()).said == ["RunCompleted"]


def test_a_cancel_that_does_not_get_through_is_repeated_and_then_forgotten():
    story = running(request_max_attempts=2).tell(cancel, delayed())
    assert story.tell(due).request == CANCEL
    story.tell(delayed())
    assert story.only.will_retry is False
    assert story.request == POLL
    assert story.state == "running"


def test_a_cancel_with_a_wrong_key_parks_the_thread():
    story = running().tell(cancel, denied())
    assert story.state == "failed"
    assert story.only.operation == "cancel_run"


@pytest.mark.parametrize("make", [idle, failed, parked, reading])
def test_cancelling_without_a_run_does_nothing(make):
    story = make()
    before = story.snapshot
    story.tell(cancel)
    assert story.ignored == "there is no run"
    assert story.snapshot == before


def test_cancelling_while_waiting_for_the_rate_ends_the_waiting():
    story = rate_limited().tell(cancel)
    assert (story.only.id, story.only.code) == ("run_1", "cancelled")
    assert story.state == "failed"
    assert story.snapshot.settled
    assert story.tell(say("Two", "k2")).request == effects.PostMessage(key="k2", content="Two")


@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_that_is_being_created_is_cancelled_as_soon_as_it_exists(make):
    story = make().tell(cancel)
    assert story.effects == ()
    state = story.state
    assert state in ("idle", "rate_limited")
    assert story.tell(created(run_id="run_5")).request == effects.CancelRun(run_id="run_5")


def test_a_run_whose_creation_is_in_doubt_is_cancelled_when_it_is_found():
    story = creating().tell(unknown(), cancel)
    assert story.effects == ()
    story.tell(due, runs(run(run_id="run_5", key="k1.1")))
    assert story.request == effects.CancelRun(run_id="run_5")


def test_a_cancel_does_not_outlive_its_run():
    story = polling().tell(cancel, completed(), page(), say("Two", "k2"), posted("msg_3"), created(run_id="run_2"))
    assert story.wait == effects.Wait(seconds=1)
    story = polling().tell(cancel, rate_limit())
    assert story.tell(due, created(run_id="run_2")).wait == effects.Wait(seconds=1)
