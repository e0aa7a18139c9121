"""Tokens are counted for each thread, and nothing is sent beyond its limit."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    NOTHING_NEW,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    discard,
    due,
    idle,
    polling,
    posted,
    posting,
    rate_limit,
    resume,
    runs,
    say,
    seen,
    unknown,
)

THREE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, cached_tokens=1, reasoning_tokens=2)


def ended(status, **settings):
    end = seen(status, code="x", message="y", usage=THREE)
    return polling(**settings).tell(end)


def spent(**settings):
    """The only run has used all tokens of the thread."""
    return polling(**{"max_total_tokens": 3, **settings}).tell(completed(), *NOTHING_NEW)


def larger(limit):
    return inputs.Connect(assistant_id="asst_1", max_total_tokens=limit)


# --- counting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.RATE_LIMITED, RunStatus.OUT_OF_QUOTA]
)
def test_the_tokens_of_every_run_that_ended_are_counted(status):
    assert ended(status).snapshot.usage == attrs.evolve(THREE, runs=1)


def test_the_tokens_of_the_last_rate_limited_run_are_counted():
    assert ended(RunStatus.RATE_LIMITED, rate_limit_max_retries=0).snapshot.usage.runs == 1


def test_tokens_add_up():
    story = polling().tell(completed(), *NOTHING_NEW, say(key="k2"), posted("msg_9"), created(run_id="run_2"), due)
    story.tell(completed("run_2"))
    assert (story.snapshot.usage.total_tokens, story.snapshot.usage.runs) == (6, 2)


def test_without_a_total_from_the_server_the_tokens_of_both_parts_are_counted():
    parts = attrs.evolve(THREE, prompt_tokens=2, total_tokens=0)
    story = polling(max_total_tokens=4).tell(seen(RunStatus.COMPLETED, usage=parts))
    assert next(event for event in story.events if isinstance(event, events.RunCompleted)).total_tokens == 0
    assert story.snapshot.usage.total_tokens == 4
    assert story.tell(*NOTHING_NEW, say(key="k2")).said == ["BudgetExceeded"]


def test_a_run_that_continues_is_not_counted():
    assert polling().tell(seen(usage=THREE), due, seen(usage=THREE)).snapshot.usage == Usage()


# --- a limit ------------------------------------------------------------------------------------------


def test_nothing_is_posted_after_the_tokens_are_used_up():
    story = spent().tell(say("Two", "k2"))
    assert story.only == events.BudgetExceeded(thread_id="thread_1", used=3, limit=3)
    assert (story.state, story.request, story.snapshot.outbox.parked) == ("failed", None, True)
    assert story.snapshot.failure.code == "budget_exceeded"


def test_a_message_is_sent_while_tokens_are_left():
    story = spent(max_total_tokens=4).tell(say("Two", "k2"))
    assert story.request == effects.PostMessage(key="k2", content="Two")


def test_it_is_said_once_until_something_changes():
    story = spent().tell(say("Two", "k2"))
    assert story.tell(say("Three", "k3")).said == []
    assert story.snapshot.outbox.parked
    assert story.tell(larger(2)).only.limit == 2


def test_it_is_said_again_after_the_limit_was_another_one_for_a_while():
    story = spent().tell(say("Two", "k2"), discard, larger(9), larger(3), say("Three", "k3"))
    assert story.only.limit == 3


def test_it_is_not_said_again_because_the_thread_gets_the_limit_that_it_has_by_the_settings():
    assert spent().tell(say("Two", "k2"), larger(3)).said == []


def test_a_larger_limit_lets_the_queue_continue():
    story = spent().tell(say("Two", "k2"), larger(4))
    assert story.request == effects.PostMessage(key="k2", content="Two")


def test_the_limit_of_the_thread_counts_before_that_of_the_settings_and_is_kept():
    story = spent(max_total_tokens=100).tell(larger(3), connect, runs(), say("Two", "k2"))
    assert story.said == ["BudgetExceeded"]


@pytest.mark.parametrize("when", [due, resume])
def test_a_rate_limited_run_is_not_started_again_beyond_the_limit(when):
    story = ended(RunStatus.RATE_LIMITED, max_total_tokens=3).tell(when)
    assert story.said == ["BudgetExceeded"]
    assert (story.moves, story.request) == (["rate_limited -> failed"], None)
    story.tell(larger(4))
    assert isinstance(story.request, effects.CreateRun)


def test_a_rate_limited_run_is_started_again_within_the_limit():
    assert isinstance(ended(RunStatus.RATE_LIMITED, max_total_tokens=4).tell(due).request, effects.CreateRun)


@pytest.mark.parametrize("when", [due, resume])
@pytest.mark.parametrize("begun", [[], [posted("msg_9")]], ids=["a message", "a run"])
def test_a_waiting_request_is_not_sent_after_the_limit_was_lowered(begun, when):
    story = spent(max_total_tokens=100).tell(say("Two", "k2"), *begun, delayed(), larger(3), when)
    assert story.said == ["BudgetExceeded"]
    assert (story.moves, story.request, story.snapshot.outbox.parked) == (["idle -> failed"], None, True)
    story.tell(larger(4))
    assert isinstance(story.request, effects.CreateRun if begun else effects.PostMessage)


def test_a_new_process_parks_a_waiting_request_at_once_after_the_limit_was_lowered():
    story = spent(max_total_tokens=100).tell(say("Two", "k2"), delayed(), larger(3), resume)
    (moved,) = (event for event in story.events if isinstance(event, events.StateChanged))
    assert (moved.source, moved.dest, moved.trigger) == ("idle", "failed", "resume")


def test_a_new_process_parks_a_repeat_after_the_limit_was_lowered():
    story = ended(RunStatus.RATE_LIMITED).tell(larger(3), resume)
    assert (story.state, story.request, story.said) == ("failed", None, ["BudgetExceeded"])


@pytest.mark.parametrize("when", [due, resume])
def test_a_waiting_request_is_sent_within_the_limit(when):
    story = spent(max_total_tokens=100).tell(say("Two", "k2"), delayed(), larger(4), when)
    assert story.request == effects.PostMessage(key="k2", content="Two")


@pytest.mark.parametrize(
    "decide",
    [
        lambda: spent().tell(say("Two", "k2"), larger(9)),
        lambda: ended(RunStatus.RATE_LIMITED).tell(resume),
    ],
    ids=["a message", "a repeat"],
)
def test_a_lower_limit_stops_what_was_decided_just_before(decide):
    story = decide()
    assert story.request is not None
    story.snapshot = story.snapshot.with_request(sent=False)
    assert story.tell(larger(2)).wait.seconds == 0.0
    assert story.tell(due).said == ["BudgetExceeded"]
    assert (story.state, story.request) == ("failed", None)


def test_a_repeat_in_doubt_is_not_created_again_after_the_limit_was_lowered():
    story = ended(RunStatus.RATE_LIMITED).tell(due, unknown(in_flight=False), due, larger(3), runs())
    assert story.said == ["BudgetExceeded"]
    assert (story.state, story.request) == ("failed", None)
    # It is searched for again before it is created.
    assert isinstance(story.tell(larger(4)).request, effects.GetLatestRun)
    assert isinstance(story.tell(runs()).request, effects.CreateRun)


def test_a_run_that_is_owed_is_not_created_beyond_the_limit():
    story = creating().tell(denied())
    story.snapshot = attrs.evolve(story.snapshot, usage=THREE)
    story.tell(larger(3))
    assert story.said == ["BudgetExceeded"]
    assert story.request is None


@pytest.mark.parametrize("make", [posting, creating])
def test_a_request_in_doubt_is_searched_for_whatever_the_limit_says(make):
    story = make().tell(unknown(), due)
    story.snapshot = attrs.evolve(story.snapshot, usage=THREE, max_total_tokens=1, pending=None)
    story.snapshot = attrs.evolve(story.snapshot, outbox=attrs.evolve(story.snapshot.outbox, parked=True))
    story.tell(connect)
    assert story.said == []
    assert isinstance(story.request, effects.GetLatestRun | effects.ListMessages)


def test_a_run_in_doubt_that_waits_to_be_created_again_is_not_parked_for_the_budget():
    story = polling(max_total_tokens=1).tell(rate_limit(), due, unknown())
    story.snapshot = attrs.evolve(story.snapshot, usage=THREE)
    story.tell(due)
    assert story.said == []


def test_a_thread_at_rest_is_not_parked():
    story = spent()
    assert (story.state, story.snapshot.outbox.parked) == ("idle", False)
    assert idle(max_total_tokens=1).state == "idle"
