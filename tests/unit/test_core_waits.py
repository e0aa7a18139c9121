"""The thing that a thread waits for, its last failure, and the announcement of a long wait."""

import itertools

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine.objects import Failure
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Waiting
from gpt_agent_fsm.machine.waits import open_calls, waits_for_the_same, with_waiting
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
    due,
    failed,
    idle,
    long_wait,
    output,
    parked,
    polling,
    posted,
    posting,
    rate_limit,
    rate_limited,
    reading,
    runs,
    say,
    seen,
    submitting,
    unknown,
    waiting,
)
from tests.unit.test_core_everywhere import looking_while_failed

NOT_SETTLED = [posting, creating, polling, awaiting, submitting, rate_limited, reading]


# --- the thing it waits for -----------------------------------------------------------------------------


@pytest.mark.parametrize("at_rest", [idle, failed, parked])
def test_a_thread_at_rest_waits_for_nothing(at_rest):
    assert waits_for_the_same(idle().snapshot, at_rest().snapshot)
    assert with_waiting(idle().snapshot, at_rest().snapshot, 5.0).waiting is None


def test_each_kind_of_wait_is_a_wait_for_another_thing():
    snapshots = [make().snapshot for make in (idle, *NOT_SETTLED)]
    assert not any(waits_for_the_same(*pair) for pair in itertools.combinations(snapshots, 2))
    assert all(waits_for_the_same(each, each) for each in snapshots)


@pytest.mark.parametrize(
    "story",
    [
        lambda: (polling(), [seen(), due, seen(), due, delayed(), due, seen()]),
        lambda: (posting(), [delayed(), due, unknown(), due]),
        lambda: (creating(), [busy(), runs(), busy()]),
        lambda: (awaiting(), [due]),
    ],
    ids=["polls", "a message is tried again", "a lock", "a poll during tool calls"],
)
def test_attempts_do_not_change_what_it_waits_for(story):
    made, told = story()
    before = made.snapshot
    for input_ in told:
        assert waits_for_the_same(before, made.tell(input_).snapshot)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (creating, created()),
        (polling, completed()),
        (polling, rate_limit()),
        (awaiting, output(LOCATE)),
        (posting, posted()),
    ],
)
def test_progress_changes_what_it_waits_for(make, told):
    story = make()
    before = story.snapshot
    assert not waits_for_the_same(before, story.tell(told).snapshot)


def test_a_wait_begins_when_the_thing_changes_and_is_kept_until_then():
    before = idle().snapshot
    after = with_waiting(before, polling().snapshot, 100.0)
    assert after.waiting == Waiting(since=100.0)
    assert with_waiting(after, after, 200.0).waiting == Waiting(since=100.0)
    assert with_waiting(after, attrs.evolve(idle().snapshot, waiting=after.waiting), 300.0).waiting is None


def test_a_wait_that_an_earlier_version_did_not_note_begins_now():
    snapshot = polling().snapshot
    assert with_waiting(snapshot, snapshot, 100.0).waiting == Waiting(since=100.0)


# --- a long wait -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*NOT_SETTLED, looking_while_failed])
def test_a_long_wait_is_announced_with_what_is_waited_for(make):
    story = waiting(make(), since=7.0)
    before = story.snapshot
    stalled = story.tell(long_wait()).only
    assert isinstance(stalled, events.ThreadStalled)
    assert (stalled.since, stalled.next_look) == (7.0, None)
    assert stalled.reason.endswith(".")
    assert story.snapshot == attrs.evolve(before, waiting=Waiting(since=7.0, told=1))


def test_a_long_wait_that_is_over_is_ignored():
    assert idle().tell(long_wait()).ignored == "that wait is over"


@pytest.mark.parametrize(("seconds", "told"), [(300, 1), (599, 1), (600, 2), (1_199, 2), (1_200, 3), (86_400, 9)])
def test_the_next_announcement_comes_when_the_wait_has_doubled(seconds, told):
    story = waiting(polling()).tell(long_wait(float(seconds)))
    assert story.snapshot.waiting.told == told
    assert 300 * 2**story.snapshot.waiting.told > seconds


def test_the_reason_names_the_last_failure():
    story = waiting(polling().tell(delayed(), due, delayed()))
    reason = story.tell(long_wait()).only.reason
    assert reason == "The run run_1 is in progress on the server. Polling the run failed (overloaded): Too much to do."


# --- the last failure -----------------------------------------------------------------------------------


def test_there_is_no_failure_at_first():
    assert idle().snapshot.failure is None


@pytest.mark.parametrize(
    ("story", "failure"),
    [
        (parked, ("x", "post_message")),
        (lambda: polling().tell(delayed()), ("overloaded", "get_run")),
        (failed, ("server_error", None)),
        (rate_limited, ("rate_limit_exceeded", None)),
        (lambda: polling(rate_limit_max_retries=0).tell(rate_limit()), ("rate_limit_exceeded", None)),
        (
            lambda: polling().tell(cancel, seen(), seen(RunStatus.FAILED, code="cancelled", message="Gone")),
            ("cancelled", None),
        ),
    ],
)
def test_the_last_failure_is_kept(story, failure):
    kept = story().snapshot.failure
    assert (kept.code, kept.operation) == failure
    assert kept.message


def test_the_failure_of_a_request_is_forgotten_after_the_next_answer():
    story = polling().tell(delayed())
    assert story.snapshot.failure is not None
    assert story.tell(due, seen()).snapshot.failure is None


def test_the_failure_of_a_run_is_kept_until_the_next_run_begins():
    story = failed()
    assert story.tell(say(key="k2"), posted("msg_2")).snapshot.failure.code == "server_error"
    assert story.tell(created(run_id="run_2")).snapshot.failure is None


def test_news_of_another_run_does_not_end_a_failure():
    story = polling().tell(delayed(), due)
    assert story.tell(seen(run_id="run_9")).snapshot.failure is not None


def test_the_failure_of_a_parked_message_is_kept_until_it_is_posted():
    story = parked().tell(connect)
    assert story.snapshot.failure == Failure(code="x", message="No", operation="post_message")
    assert story.tell(runs(), posted()).snapshot.failure is None


# --- open calls ---------------------------------------------------------------------------------------


def test_open_calls_are_those_without_an_output():
    story = awaiting()
    assert [call.id for call in open_calls(story.snapshot)] == [LOCATE.id, MEASURE.id]
    assert [call.arguments for call in open_calls(story.snapshot)] == [{"city": "Oslo"}, {}]
    assert [call.id for call in open_calls(story.tell(output(LOCATE)).snapshot)] == [MEASURE.id]


@pytest.mark.parametrize("make", [idle, polling, submitting, failed])
def test_there_are_no_open_calls_but_while_the_run_waits_for_outputs(make):
    assert open_calls(make().snapshot) == ()
