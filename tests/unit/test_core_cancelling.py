"""Cancelling a run: at once, after a request in flight, too late, or before it exists."""

import itertools

import attrs
import pytest

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    MEASURE,
    awaiting,
    busy,
    cancel,
    completed,
    connect,
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
LATE = inputs.DeadlinePassed(setting="run_timeout", seconds=30)


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
def test_a_run_with_a_request_in_flight_is_cancelled_after_it(make):
    story = make().tell(cancel)
    assert story.effects == ()
    story.tell(needs(LOCATE, MEASURE))
    assert story.request == CANCEL
    assert story.state == "running"
    assert story.said == []
    story.tell(seen())
    assert story.wait == effects.Wait(seconds=2)


def test_cancelling_twice_asks_once():
    story = running().tell(cancel, cancel)
    assert story.effects == ()
    assert story.tell(seen(RunStatus.CANCELLING)).wait == effects.Wait(seconds=2)
    story = running().tell(cancel, delayed(), cancel)
    assert story.effects == ()
    assert story.tell(due).request == CANCEL


def test_the_last_output_does_not_replace_a_cancel_that_waits():
    story = awaiting(LOCATE).tell(cancel, delayed(), output(LOCATE))
    assert story.state == "submitting"
    assert story.request is None
    assert story.tell(due).request == CANCEL


def test_a_cancel_that_comes_too_late_leads_to_a_poll():
    story = running().tell(cancel, refused())
    assert story.request == POLL
    assert (story.only.operation, story.only.will_retry) == ("cancel_run", True)
    assert story.tell(completed()).said == ["RunCompleted"]


def test_a_cancel_that_an_older_version_has_sent_may_be_refused():
    story = running().tell(cancel)
    run_without_reason = attrs.evolve(story.snapshot.run, ending=None)
    story.snapshot = attrs.evolve(story.snapshot, run=run_without_reason)
    assert story.tell(refused()).request == POLL
    assert story.snapshot.run.ending is None


# --- the run does not end -----------------------------------------------------------------------------


def round_of(story, *facts):
    """Tell facts in turn, the timer in between, until the run has ended; return how many there were."""
    for count, fact in enumerate(itertools.islice(itertools.cycle(facts), 100), 1):
        story.tell(*([] if story.snapshot.pending.sent else [due]), fact)
        if story.snapshot.run is None:
            return count
    raise AssertionError("it never ends")


IGNORED = {
    "refused": (refused(), seen()),
    "ignored": (seen(),),
    "cancelling forever": (seen(RunStatus.CANCELLING),),
    "delayed": (delayed(),),
    "delayed, then polled": (delayed(), delayed(), delayed(), seen()),
    "denied": (denied(),),
    "waiting for tools forever": (refused(), needs(LOCATE)),
}


@pytest.mark.parametrize("facts", IGNORED.values(), ids=IGNORED)
@pytest.mark.parametrize("make", [running, polling, awaiting, submitting])
@pytest.mark.parametrize(("why", "code"), [(cancel, "cancelled"), (LATE, "timeout")], ids=["cancelled", "timeout"])
def test_a_run_that_does_not_end_on_the_server_ends_here_after_a_bounded_number_of_tries(make, facts, why, code):
    story = make().tell(why)
    if story.snapshot.run.must_cancel:
        story.tell(seen())
    assert round_of(story, *facts) <= 2 * story.settings.request_max_attempts + 2
    end = story.events[-2] if story.moves else story.events[-1]
    assert (end.id, end.code) == ("run_1", code)
    assert "may still run it" in end.message
    assert story.snapshot.settled
    assert not story.snapshot.outbox.parked


def test_the_queue_continues_after_a_run_that_was_abandoned_and_the_run_is_not_adopted_again():
    story = running().tell(say("Two", "k2"), cancel)
    round_of(story, refused(), seen())
    assert story.request == effects.PostMessage(key="k2", content="Two")
    story.tell(busy(), runs(run()))
    assert story.state == "idle"


def test_a_timeout_replaces_a_cancel_and_not_the_other_way_round():
    assert round_of(story := running().tell(cancel, LATE), refused(), seen())
    assert story.events[-2].code == "timeout"
    assert round_of(story := running().tell(LATE, cancel), refused(), seen())
    assert story.events[-2].code == "timeout"


def test_a_run_that_is_rate_limited_while_it_must_end_is_not_started_again():
    story = polling().tell(cancel, rate_limit())
    assert (story.state, story.only.code) == ("failed", "rate_limit_exceeded")
    assert story.snapshot.settled
    assert polling().tell(LATE, rate_limit()).only.code == "timeout"


def test_a_delayed_submission_is_not_repeated_for_a_run_that_must_end():
    story = submitting().tell(cancel, delayed())
    assert story.request == CANCEL
    assert story.state == "running"


# --- in every state -----------------------------------------------------------------------------------

POLLED = {
    "running": polling,
    "awaiting_tools": lambda **settings: awaiting(**settings).tell(due),
    "submitting": lambda **settings: submitting(**settings).tell(unknown(), due),
}
CANCELLED = {
    "running": lambda **settings: running(**settings).tell(cancel),
    "awaiting_tools": lambda **settings: awaiting(**settings).tell(cancel),
    "submitting": lambda **settings: submitting(**settings).tell(delayed(), cancel),
}
in_every_state = pytest.mark.parametrize("state", list(POLLED))


def to(dest, state):
    return [] if dest == state else [f"{state} -> {dest}"]


@in_every_state
def test_a_cancel_moves_nothing_before_its_answer(state):
    assert CANCELLED[state]().moves == []
    assert POLLED[state]().tell(cancel).moves == []


@in_every_state
@pytest.mark.parametrize("answer", [seen(), seen(RunStatus.CANCELLING), needs(LOCATE)])
def test_a_run_that_is_seen_while_it_must_end_is_running(state, answer):
    assert CANCELLED[state]().tell(answer).moves == to("running", state)
    story = POLLED[state]().tell(cancel, answer)
    assert story.moves == to("running", state)
    assert (story.snapshot.run.must_cancel, story.snapshot.run.ending.tries) == (False, 0)


@in_every_state
def test_a_delayed_poll_of_a_run_that_must_end_is_replaced_by_a_cancel(state):
    story = POLLED[state]().tell(cancel, delayed())
    assert story.request == CANCEL
    assert story.moves == to("running", state)


@in_every_state
def test_a_delayed_cancel_is_sent_again_from_the_same_state(state):
    story = CANCELLED[state]().tell(delayed())
    assert story.moves == []
    assert story.tell(due).request == CANCEL


@in_every_state
@pytest.mark.parametrize("last", [seen(), delayed()])
def test_a_run_is_abandoned_from_every_state(state, last):
    story = CANCELLED[state]()
    for _ in range(2 * story.settings.request_max_attempts):
        story.tell(delayed(), due)
    assert story.state == state
    assert story.tell(last).moves == [f"{state} -> failed"]
    assert story.events[-2].code == "cancelled"


@in_every_state
def test_a_cancel_that_is_denied_once_too_often_ends_the_run(state):
    story = CANCELLED[state](request_max_attempts=1).tell(denied())
    assert story.moves == [f"{state} -> failed"]
    assert story.said == ["RequestFailed", "RunFailed"]


@in_every_state
def test_a_denied_or_delayed_poll_is_repeated_from_the_same_state(state):
    for no in (denied(), delayed()):
        story = POLLED[state]().tell(no)
        assert story.moves == []
        assert story.snapshot.pending.failures == 1
        assert story.tell(due).request.run_id == "run_1"


@in_every_state
def test_a_rate_limit_ends_a_run_that_must_end_in_every_state(state):
    story = POLLED[state]().tell(cancel, rate_limit())
    assert story.moves == [f"{state} -> failed"]
    assert story.said == ["RunFailed"]


@in_every_state
def test_an_unsupported_action_is_handled_in_every_state(state):
    story = POLLED[state]().tell(seen(RunStatus.NEEDS_TOOLS, unsupported="an approval"))
    assert story.request == CANCEL
    assert story.moves == to("running", state)
    story = POLLED[state]().tell(seen(RunStatus.NEEDS_TOOLS))
    assert story.wait is not None
    assert story.moves == to("running", state)


# --- a run that waits for something unsupported -------------------------------------------------------


def test_a_run_that_waits_for_something_unsupported_is_cancelled_and_fails_by_name():
    approval = seen(RunStatus.NEEDS_TOOLS, unsupported="it waits for an approval (mcp), which is not supported")
    story = polling().tell(approval)
    assert story.request == CANCEL
    story.tell(seen(RunStatus.FAILED, code="cancelled", message="m"))
    assert story.only.code == "unsupported_action"
    assert story.only.message == "The run was cancelled: it waits for an approval (mcp), which is not supported."


def test_a_run_that_names_no_call_is_polled_a_few_times_and_then_cancelled():
    story = polling()
    for _ in range(5):
        story.tell(seen(RunStatus.NEEDS_TOOLS))
        assert story.wait is not None
        assert story.state == "running"
        story.tell(due)
    assert story.tell(seen(RunStatus.NEEDS_TOOLS)).request == CANCEL
    story.tell(seen(RunStatus.FAILED, code="cancelled", message="m"))
    assert "names no tool call" in story.only.message


def test_a_run_that_names_its_calls_late_is_answered():
    story = polling().tell(seen(RunStatus.NEEDS_TOOLS), due, needs(LOCATE))
    assert story.state == "awaiting_tools"
    assert story.only.name == "locate"


# --- without a run, and before there is one -----------------------------------------------------------


@pytest.mark.parametrize("make", [idle, failed, parked, reading])
def test_cancelling_without_a_run_does_nothing(make):
    story = make()
    before = story.snapshot
    story.tell(cancel)
    assert story.ignored == "there is no run"
    assert story.snapshot == before


def test_cancelling_during_the_pause_of_a_rate_limit_ends_the_pause():
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


@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_that_was_cancelled_in_doubt_is_not_created_once_the_search_shows_nothing(make):
    story = make().tell(unknown(), cancel, due, runs(), due, runs())
    assert story.only.code == "cancelled"
    assert (story.state, story.request) == ("failed", None)
    assert story.snapshot.settled


@pytest.mark.parametrize("answer", [delayed(), busy(), refused(), denied()], ids=lambda each: each.trigger)
@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_that_was_cancelled_while_its_creation_failed_is_not_created(make, answer):
    story = make().tell(say("Two", "k2"), cancel, answer)
    assert story.said == ["RequestFailed", "RunFailed"]
    assert story.events[1].id == (None if make is creating else "run_1")
    assert story.request == effects.PostMessage(key="k2", content="Two")


def test_an_owed_run_that_is_parked_is_cancelled_and_the_queue_continues():
    story = creating().tell(denied())
    assert story.snapshot.outbox.parked
    story.tell(cancel)
    assert (story.only.id, story.only.code) == (None, "cancelled")
    assert not story.snapshot.outbox.parked
    assert story.snapshot.settled


def test_a_parked_run_in_doubt_is_searched_for_when_it_is_cancelled():
    story = creating(request_max_attempts=1).tell(unknown())
    assert story.snapshot.outbox.parked
    assert story.tell(cancel).request == effects.GetLatestRun(key="k1.1")
    story.tell(runs(), due, runs())
    assert (story.only.id, story.only.code) == (None, "cancelled")


def test_a_run_behind_a_lasting_lock_is_cancelled_at_once():
    story = creating().tell(busy(), runs(), busy())
    assert story.tell(cancel).only.code == "cancelled"
    assert story.snapshot.settled


def test_a_run_that_is_no_longer_created_leaves_a_failed_thread():
    assert creating().tell(denied(), cancel).moves == []
    assert creating().tell(delayed(), cancel).moves == ["idle -> failed"]
    assert creating().tell(cancel, delayed()).moves == ["idle -> failed"]
    assert retrying().tell(cancel, delayed()).moves == ["rate_limited -> failed"]


@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_that_is_refused_because_of_its_message_leaves_a_failed_thread(make):
    story = make()
    state = story.state
    story.tell(refused(content=True))
    assert story.moves == [f"{state} -> failed"]
    assert story.only.will_retry is False
    assert story.snapshot.settled
    assert not story.snapshot.outbox.parked


def test_a_run_in_doubt_that_is_searched_for_on_connecting_may_be_cancelled():
    story = creating(request_max_attempts=1).tell(unknown(), connect)
    assert story.state == "failed"
    story.tell(cancel, runs(), due, runs())
    assert story.only.code == "cancelled"
    assert story.snapshot.settled


# --- after the run ------------------------------------------------------------------------------------


def test_a_cancel_does_not_outlive_its_run():
    story = polling().tell(cancel, completed(), page(), say("Two", "k2"), posted("msg_3"), created(run_id="run_2"))
    assert story.wait == effects.Wait(seconds=1)
