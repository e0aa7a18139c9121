"""Connecting and sending messages."""

import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    NOTHING_NEW,
    Story,
    busy,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    due,
    failed,
    idle,
    parked,
    polling,
    posted,
    posting,
    refused,
    retrying,
    run,
    running,
    runs,
    say,
    seen,
)

POST = effects.PostMessage(key="k1", content="Hello")
CREATE = effects.CreateRun(key="k1.1", assistant_id="asst_1")
LOOK = effects.GetLatestRun()
WIDE_LOOK = effects.GetLatestRun(wide=True)
READ = effects.ListMessages(after=None)


# --- connecting ---------------------------------------------------------------------------------------


def test_connecting_searches_for_a_run_before_anything_else():
    story = Story().tell(connect)
    assert story.request == LOOK
    assert story.state == "idle"


def test_without_a_run_a_connected_thread_rests_until_the_idle_timeout():
    story = Story().tell(connect, runs())
    assert story.wait == effects.Wait(seconds=120)
    assert story.snapshot.settled
    assert story.events == ()


@pytest.mark.parametrize("status", [RunStatus.ACTIVE, RunStatus.NEEDS_TOOLS])
def test_a_run_in_progress_is_adopted_polled_at_once_and_sends_no_run_started(status):
    story = Story().tell(connect, runs(run(status, "run_7", assistant_id="asst_7")))
    assert story.state == "running"
    assert story.request == effects.GetRun(run_id="run_7")
    assert story.said == []
    assert story.tell(completed("run_7")).only.assistant_id == "asst_7"


@pytest.mark.parametrize("status", [RunStatus.CANCELLING, RunStatus.COMPLETED, RunStatus.FAILED])
def test_a_run_that_is_over_or_being_cancelled_is_not_adopted(status):
    story = Story().tell(connect, runs(run(status)))
    assert story.state == "idle"
    assert story.snapshot.settled


def test_a_run_in_progress_is_adopted_by_a_thread_that_had_failed():
    story = failed().tell(connect, runs(run(run_id="run_2")))
    assert story.state == "running"
    assert story.events == (
        events.StateChanged(thread_id="thread_1", source="failed", dest="running", trigger="runs_listed"),
    )


def test_connecting_a_failed_thread_without_a_run_leaves_it_failed():
    story = failed().tell(connect, runs(run(RunStatus.FAILED)))
    assert story.state == "failed"
    assert story.wait == effects.Wait(seconds=120)


def test_connecting_again_moves_the_cursor_and_the_assistant():
    story = idle().tell(inputs.Connect(assistant_id="asst_2", last_message_id="msg_9"))
    assert story.snapshot.assistant_id == "asst_2"
    assert story.snapshot.cursor.last_message_id == "msg_9"
    assert story.request is None


def test_connecting_without_a_cursor_leaves_the_one_that_is_known():
    story = idle().tell(inputs.Connect(assistant_id="asst_1", last_message_id="msg_9"))
    story.tell(inputs.Connect(assistant_id="asst_1", last_message_id=None))
    assert story.snapshot.cursor.last_message_id == "msg_9"


def test_a_search_that_fails_is_tried_again_until_the_attempts_are_exhausted():
    story = Story(request_max_attempts=2).tell(connect, delayed())
    assert story.only.will_retry
    assert story.state == "idle"
    story.tell(due)
    assert story.request == LOOK
    story.tell(delayed())
    assert story.only.will_retry is False
    assert story.state == "failed"
    assert story.snapshot.settled


def test_a_search_that_failed_is_repeated_with_the_next_message():
    story = Story(request_max_attempts=1).tell(connect, delayed(), say())
    assert story.request == LOOK
    assert story.tell(runs()).request == POST


# --- messages are sent ---------------------------------------------------------------------------------


def test_a_message_is_posted_and_a_run_created_for_it():
    story = idle().tell(say())
    assert story.request == POST
    story.tell(posted("msg_1"))
    assert story.only == events.UserMessageAdded(id="msg_1", thread_id="thread_1", content="Hello", key="k1")
    assert story.request == CREATE
    story.tell(created(assistant_id="asst_1"))
    assert story.events == (
        events.RunStarted(id="run_1", thread_id="thread_1", assistant_id="asst_1"),
        events.StateChanged(thread_id="thread_1", source="idle", dest="running", trigger="run_created"),
    )
    assert story.wait == effects.Wait(seconds=1)


def test_a_message_for_a_failed_thread_starts_afresh():
    story = failed().tell(say("Again", "k2"))
    assert story.state == "idle"
    assert story.request == effects.PostMessage(key="k2", content="Again")
    assert story.snapshot.outbox.turn is None


def test_messages_sent_while_a_run_is_active_wait_in_order_and_get_one_run_each():
    story = running().tell(say("Two", "k2"), say("Three", "k3"))
    assert story.effects == ()
    story.tell(due, completed())
    assert story.tell(*NOTHING_NEW).request == effects.PostMessage(key="k2", content="Two")
    story.tell(posted("msg_2"), created(run_id="run_2"), due, completed("run_2"), *NOTHING_NEW)
    assert story.request == effects.PostMessage(key="k3", content="Three")
    assert story.tell(posted("msg_3")).request == effects.CreateRun(key="k3.1", assistant_id="asst_1")


def test_a_message_that_is_queued_while_another_is_posted_changes_nothing_about_it():
    story = posting().tell(say("Two", "k2"))
    assert story.effects == ()
    assert [message.key for message in story.snapshot.queue] == ["k1", "k2"]


def test_messages_are_read_before_the_next_message_is_sent():
    story = running().tell(say("Two", "k2"), due, completed())
    assert story.request == READ


def test_queued_messages_continue_after_a_failed_run():
    story = polling().tell(say("Two", "k2"), seen(RunStatus.FAILED, code="x", message="y"))
    assert [(e.source, e.dest) for e in story.events if isinstance(e, events.StateChanged)] == [
        ("running", "failed"),
        ("failed", "idle"),
    ]
    assert story.request == effects.PostMessage(key="k2", content="Two")


def test_a_message_whose_text_is_refused_is_dropped_and_the_next_is_sent():
    story = posting().tell(say("Two", "k2"), refused(content=True))
    assert story.only.will_retry is False
    assert [(e.source, e.dest) for e in story.events if isinstance(e, events.StateChanged)] == [
        ("idle", "failed"),
        ("failed", "idle"),
    ]
    assert story.request == effects.PostMessage(key="k2", content="Two")


def test_a_refusal_that_is_not_about_the_text_keeps_the_message_and_parks_the_queue():
    story = posting().tell(refused(404))
    assert story.state == "failed"
    assert story.snapshot.settled
    assert story.wait == effects.Wait(seconds=120)
    assert story.only == events.RequestFailed(
        thread_id="thread_1",
        operation="post_message",
        status=404,
        code=None,
        message="No",
        attempt=1,
        will_retry=False,
    )
    assert story.snapshot.queue[0].key == "k1"


@pytest.mark.parametrize(
    "command",
    [inputs.SetAssistant(assistant_id="asst_1"), inputs.Connect(assistant_id="asst_1"), say("Two", "k2")],
    ids=["set_assistant", "connect", "add_user_message"],
)
def test_a_parked_message_is_tried_again_with_the_next_command(command):
    story = parked().tell(command)
    assert story.state == "idle"
    assert story.request == POST


def test_a_run_that_could_not_be_started_is_tried_again_without_posting_the_message_again():
    story = creating().tell(refused(404))
    assert story.state == "failed"
    assert story.only.operation == "create_run"
    story.tell(inputs.SetAssistant(assistant_id="asst_2"))
    assert story.request == effects.CreateRun(key="k1.1", assistant_id="asst_2")


def test_a_wrong_key_keeps_the_message_and_is_not_retried():
    story = posting().tell(denied())
    assert (story.only.status, story.only.will_retry) == (401, False)
    assert story.state == "failed"
    assert story.snapshot.queue


def test_an_exhausted_balance_before_a_run_sends_both_events_and_names_no_run():
    story = creating().tell(denied(quota=True))
    assert story.said == ["RequestFailed", "OrganizationQuotaExceeded"]
    assert story.events[1].run_id is None
    assert story.state == "failed"


def test_the_assistant_is_changed_even_for_a_run_that_waits_to_be_created_again():
    story = creating().tell(delayed(), inputs.SetAssistant(assistant_id="asst_2"))
    assert story.tell(due).request == effects.CreateRun(key="k1.1", assistant_id="asst_2")


def test_the_assistant_of_a_request_in_flight_stays():
    story = creating().tell(inputs.SetAssistant(assistant_id="asst_2"))
    assert story.snapshot.request == CREATE


# --- a run blocks the thread ------------------------------------------------------------------------------


def test_a_run_somebody_else_started_is_adopted_and_the_message_waits_for_its_end():
    story = posting().tell(busy())
    assert story.request == WIDE_LOOK
    assert story.events == ()
    story.tell(runs(run(run_id="run_9")))
    assert story.state == "running"
    assert story.request == effects.GetRun(run_id="run_9")
    story.tell(completed("run_9"))
    assert story.request == READ
    assert story.tell(*NOTHING_NEW).request == POST


def test_a_run_that_is_being_cancelled_is_adopted_if_it_blocks_the_thread():
    story = posting().tell(busy(), runs(run(RunStatus.CANCELLING, "run_9")))
    assert story.state == "running"


def test_the_run_of_a_message_is_created_after_the_run_that_blocked_it():
    story = creating().tell(busy())
    assert story.request == effects.GetLatestRun(key="k1.1", wide=True)
    story.tell(runs(run(run_id="run_9", key="other")), completed("run_9"), *NOTHING_NEW)
    assert story.request == CREATE


def test_a_busy_thread_whose_run_is_gone_gets_the_message_again_with_growing_pauses():
    story = posting().tell(busy(), runs(run(RunStatus.COMPLETED)))
    assert story.request == POST
    story.tell(busy())
    assert story.wait == effects.Wait(seconds=1, spread=1)
    story.tell(due)
    assert story.request == WIDE_LOOK
    story.tell(runs(), busy())
    assert story.wait == effects.Wait(seconds=2, spread=2)


def test_a_thread_that_stays_busy_is_given_up_when_the_attempts_are_exhausted():
    story = posting(request_max_attempts=2).tell(busy(), runs(), busy())
    assert story.state == "failed"
    assert story.only.will_retry is False
    assert story.snapshot.queue


def test_a_busy_thread_leads_a_rate_limited_run_to_be_created_after_all():
    story = retrying().tell(busy())
    assert story.request == effects.GetLatestRun(key="k1.2", wide=True)
    assert story.tell(runs()).request == effects.CreateRun(key="k1.2", assistant_id="asst_1")
    assert story.state == "rate_limited"
