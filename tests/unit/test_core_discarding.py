"""Dropping unsent messages: a way past anything that blocks a queue."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.queue import QueuedMessage
from tests.story import (
    LOCATE,
    answer,
    awaiting,
    busy,
    cancel,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    discard,
    due,
    failed,
    idle,
    needs,
    output,
    page,
    parked,
    polling,
    posted,
    posting,
    question,
    rate_limit,
    rate_limited,
    reading,
    refused,
    resume,
    run,
    running,
    runs,
    say,
    submitting,
    unknown,
    withdraw,
)

TWO, THREE = say("Two", "k2"), say("Three", "k3")


def queue_behind(story):
    """Put a message into the queue without a word to the machine."""
    queue = story.snapshot.queue.add(QueuedMessage(key="k2", content="Two"))
    story.snapshot = attrs.evolve(story.snapshot, queue=queue)


def test_a_parked_queue_is_dropped_and_the_next_message_is_sent():
    story = parked().tell(TWO, denied())
    assert story.snapshot.outbox.parked
    story.tell(discard)
    assert story.only.keys == ("k1", "k2")
    assert story.snapshot.settled
    assert story.tell(THREE).request == effects.PostMessage(key="k3", content="Three")


@pytest.mark.parametrize("make", [running, polling, awaiting, submitting])
def test_the_run_in_progress_continues(make):
    story = make().tell(TWO, THREE)
    before = story.snapshot
    story.tell(discard)
    assert story.only.keys == ("k2", "k3")
    assert (story.snapshot.run, story.snapshot.pending) == (before.run, before.pending)
    assert len(story.snapshot.queue) == 0


@pytest.mark.parametrize("make", [idle, failed, running, awaiting, reading])
def test_without_anything_to_send_it_is_ignored(make):
    story = make()
    before = story.snapshot
    story.tell(discard)
    assert story.ignored == "nothing waits to be sent"
    assert story.snapshot == before


def test_a_message_that_waits_for_its_next_attempt_is_dropped_at_once():
    story = posting().tell(delayed(), discard)
    assert story.only.keys == ("k1",)
    assert story.snapshot.settled


# --- a message that may be on the thread ------------------------------------------------------------------------------


def test_a_message_in_flight_stays_on_the_thread_without_a_run():
    story = posting().tell(TWO, discard)
    assert story.only.keys == ("k2",)
    story.tell(posted())
    assert story.said == ["UserMessageAdded"]
    assert story.snapshot.settled
    assert story.tell(THREE).request == effects.PostMessage(key="k3", content="Three")
    assert story.tell(posted("msg_3")).request == effects.CreateRun(key="k3.1", assistant_id="asst_1")


@pytest.mark.parametrize(
    "no", [delayed(), busy(), refused(), refused(content=True), denied()], ids=lambda no: no.trigger
)
def test_a_message_in_flight_that_does_not_arrive_is_dropped(no):
    story = posting().tell(TWO, discard, THREE, no)
    assert story.said == ["RequestFailed", "MessagesDiscarded"]
    assert story.events[1].keys == ("k1",)
    assert story.request == effects.PostMessage(key="k3", content="Three")
    assert story.tell(posted("msg_3")).request == effects.CreateRun(key="k3.1", assistant_id="asst_1")


@pytest.mark.parametrize("no", [delayed(), busy(), refused(), denied()])
def test_a_message_that_was_dropped_in_flight_leaves_a_failed_thread(no):
    assert posting().tell(discard, no).moves == ["idle -> failed"]


def test_a_message_in_doubt_that_is_found_stays_without_a_run():
    story = posting().tell(unknown(), TWO, discard, due, page(question("msg_1", key="k1")))
    assert story.said == ["UserMessageAdded"]
    assert story.snapshot.settled


def test_a_message_in_doubt_that_is_absent_is_dropped_once_it_can_no_longer_land():
    story = posting().tell(unknown(), discard, due, page())
    assert story.said == []
    story.tell(due, page())
    assert story.only.keys == ("k1",)
    assert story.moves == []
    assert story.snapshot.settled


def test_a_discarded_message_in_doubt_stays_discarded_while_an_adopted_run_is_repeated():
    story = posting().tell(unknown(), due, denied(), connect, discard)
    assert story.snapshot.request == effects.GetLatestRun()
    story.tell(runs(run()), rate_limit())
    assert story.state == "rate_limited"
    assert story.snapshot.outbox.head_is_unwanted
    story.tell(due, created(run_id="run_2"), completed("run_2"), page(answer("msg_1", run_id="run_2")))
    story.tell(page(), due, page())
    assert story.only.keys == ("k1",)
    assert story.snapshot.settled


def test_a_message_that_cannot_be_distinguished_is_dropped():
    twins = page(question("msg_9"), question("msg_8"))
    story = posting().tell(unknown(), due, twins)
    assert story.snapshot.outbox.parked
    story.tell(discard)
    assert story.request == effects.ListMessages(after=None, newest_first=True)
    assert story.tell(twins).only.keys == ("k1",)
    assert not story.snapshot.outbox.parked
    assert story.snapshot.settled


def test_a_crash_while_a_discarded_message_is_in_flight_forgets_nothing():
    story = posting().tell(discard, resume)
    for _ in range(3):
        assert story.request == effects.ListMessages(after=None, newest_first=True)
        story.tell(page(), *([] if story.snapshot.settled else [due]))
        if story.snapshot.settled:
            break
    assert story.snapshot.settled
    assert len(story.snapshot.queue) == 0


def test_discarding_twice_drops_once():
    story = posting().tell(discard, discard)
    assert story.ignored == "nothing waits to be sent"


# --- a run that is not on the server ----------------------------------------------------------------------------------


def test_an_owed_run_is_dropped_with_the_queue():
    story = creating().tell(denied(), discard)
    assert (story.only.id, story.only.code) == (None, "cancelled")
    assert story.snapshot.settled
    story = creating().tell(TWO, delayed(), discard)
    assert story.said == ["MessagesDiscarded", "RunFailed"]
    assert story.snapshot.settled


def test_a_rate_limited_run_is_dropped_with_the_queue():
    story = rate_limited().tell(TWO, discard)
    assert story.said == ["MessagesDiscarded", "RunFailed"]
    assert story.events[1].id == "run_1"
    assert story.snapshot.settled


def test_a_run_that_is_being_created_is_cancelled_when_it_exists():
    story = creating().tell(TWO, discard)
    assert story.said == ["MessagesDiscarded"]
    assert story.tell(created()).request == effects.CancelRun(run_id="run_1")


def test_a_run_in_doubt_is_searched_for_first():
    story = creating(request_max_attempts=1).tell(unknown(), discard)
    assert story.request == effects.GetLatestRun(key="k1.1")
    story.tell(runs(run(key="k1.1")))
    assert story.request == effects.CancelRun(run_id="run_1")


def behind_another_run(*before):
    """Return a thread whose own run waits for the end of another client's run."""
    return creating().tell(*before, busy(), runs(run(run_id="run_x", key="another")))


def test_a_run_that_waits_for_the_end_of_another_run_is_dropped_and_the_other_one_continues():
    story = behind_another_run().tell(TWO)
    before = story.snapshot
    story.tell(discard)
    assert story.said == ["MessagesDiscarded", "RunFailed"]
    assert (story.events[1].id, story.events[1].code) == (None, "cancelled")
    assert (story.snapshot.run, story.snapshot.pending) == (before.run, before.pending)
    assert story.tell(completed("run_x")).request == effects.ListMessages(after=None)
    story.tell(page())
    assert story.snapshot.outbox.owed is None


def test_a_rate_limit_of_that_other_run_repeats_the_other_run_alone():
    story = behind_another_run().tell(discard, rate_limit("run_x"), due)
    assert story.request == effects.CreateRun(key="run_x.1", assistant_id="asst_1")


def test_a_run_in_doubt_behind_another_run_is_cancelled_as_soon_as_it_is_known():
    story = behind_another_run(unknown(), due, runs(), due, runs()).tell(discard)
    assert story.said == []
    story.tell(completed("run_x"), page())
    assert story.snapshot.outbox.owed.must_cancel


@pytest.mark.parametrize("command", [cancel, discard])
def test_the_calls_of_a_run_that_was_left_are_known_even_if_the_owed_run_is_dropped(command):
    story = behind_another_run().tell(needs(LOCATE, run_id="run_x"), output(LOCATE), denied())
    assert story.snapshot.outbox.parked
    story.tell(command, runs())
    assert story.snapshot.outbox.owed is None
    story.tell(connect, runs(run(run_id="run_x", key="another")), needs(LOCATE, run_id="run_x"))
    assert "ToolCallRequested" not in story.said
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_x", outputs=((LOCATE.id, "1"),), assistant_id="asst_1"
    )


def test_after_a_final_refusal_no_run_is_owed_and_the_next_message_is_sent():
    story = creating().tell(TWO, refused(content=True))
    assert story.said == ["RequestFailed"]
    assert story.events[0].will_retry is False
    assert story.request == effects.PostMessage(key="k2", content="Two")
    assert story.tell(posted("msg_2")).request == effects.CreateRun(key="k2.1", assistant_id="asst_1")


def test_a_cancel_and_a_discard_get_past_every_parked_thread():
    """After any refusal of a server, one of the two brings the thread to rest, with nothing left to send."""
    for story in (
        posting().tell(refused()),
        posting().tell(denied()),
        posting().tell(denied(quota=True)),
        posting(request_max_attempts=1).tell(delayed()),
        posting(request_max_attempts=1).tell(busy()),
        creating().tell(refused()),
        creating().tell(denied()),
        creating(request_max_attempts=1).tell(busy()),
        rate_limited().tell(due, refused()),
        polling().tell(needs(), inputs.DeadlinePassed(setting="run_timeout", seconds=1)),
    ):
        if story.state.run_in_progress:
            continue
        assert story.snapshot.outbox.parked
        story.tell(discard)
        assert story.snapshot.settled
        assert not story.snapshot.outbox.parked
        assert story.tell(say("Next", "k9")).request == effects.PostMessage(key="k9", content="Next")


def test_an_answer_from_before_the_discard_is_still_read():
    story = reading().tell(TWO, discard, page(answer("msg_2")))
    assert story.said == ["AssistantMessageAdded"]


def test_cancelling_leaves_the_queue():
    story = running().tell(TWO, cancel)
    assert len(story.snapshot.queue) == 1


# --- one message is withdrawn -------------------------------------------------------------------------


def test_a_message_that_was_not_sent_is_withdrawn_and_the_others_stay():
    story = running().tell(say("Two", "k2"), say("Three", "k3"), say("Four", "k4"), withdraw("k3"))
    assert story.only == events.MessagesDiscarded(thread_id="thread_1", keys=("k3",))
    assert [message.key for message in story.snapshot.queue] == ["k2", "k4"]


@pytest.mark.parametrize("make", [idle, rate_limited, failed, awaiting, submitting])
def test_a_message_is_withdrawn_in_every_state(make):
    story = make()
    before = story.state
    story.snapshot = attrs.evolve(
        story.snapshot, queue=story.snapshot.queue.add(QueuedMessage(key="k2", content="Two"))
    )
    assert story.tell(withdraw("k2")).said == ["MessagesDiscarded"]
    assert (story.state, story.moves) == (before, [])


@pytest.mark.parametrize("story", [posting, lambda: posting().tell(unknown()), idle, running])
def test_a_message_that_may_have_been_sent_is_not_withdrawn(story):
    made = story()
    before = made.snapshot
    assert made.tell(withdraw("k1")).ignored == "the message was sent, or is not in the queue"
    assert made.snapshot == before


def test_the_parked_head_is_withdrawn_and_the_queue_is_no_longer_parked_if_it_was_the_last():
    assert not parked().tell(withdraw("k1")).snapshot.outbox.parked
    story = parked()
    story.snapshot = attrs.evolve(
        story.snapshot, queue=story.snapshot.queue.add(QueuedMessage(key="k2", content="Two"))
    )
    assert story.tell(withdraw("k1")).snapshot.outbox.parked


def test_a_head_that_waits_to_be_posted_again_is_withdrawn_and_the_next_message_is_posted():
    story = posting().tell(say("Two", "k2"), delayed(), withdraw("k1"))
    assert story.request == effects.PostMessage(key="k2", content="Two")
