"""Runs whose handle changes at each turn, threads that only report that they are locked, and late lists."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Newest
from tests.story import (
    LOCATE,
    MEASURE,
    Story,
    answer,
    awaiting,
    connect,
    created,
    creating,
    deny_the_poll,
    due,
    idle,
    output,
    page,
    polling,
    posted,
    posting,
    question,
    refused,
    resume,
    run,
    runs,
    say,
    seen,
    submitting,
    unknown,
)

DOUBTFUL_LOOK = effects.GetRun(run_id="run_1", handle="h1", in_doubt=True)
LOCKED = inputs.RequestBlocked(status=400, code="conversation_locked", message="Try again", locked=True)


def needs(*calls, handle):
    return seen(RunStatus.NEEDS_TOOLS, tool_calls=calls, handle=handle)


# --- a chain is followed by its handle ------------------------------------------------------------------


def test_a_run_is_polled_answered_and_cancelled_by_its_newest_handle():
    story = creating().tell(created(handle="h1"), due)
    assert story.request == effects.GetRun(run_id="run_1", handle="h1")
    story.tell(needs(LOCATE, handle="h1"), output(LOCATE))
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_1", outputs=(("call_1", "1"),), assistant_id="asst_1", handle="h1"
    )
    story.tell(seen(handle="h2"), due)
    assert story.request == effects.GetRun(run_id="run_1", handle="h2")
    story.tell(seen(handle="h2"), inputs.CancelRun())
    assert story.request == effects.CancelRun(run_id="run_1", handle="h2")


def test_a_run_that_waits_for_tools_is_polled_by_its_handle():
    story = polling().tell(needs(LOCATE, handle="h1"), due)
    assert story.request == effects.GetRun(run_id="run_1", handle="h1")


def test_an_adopted_run_is_polled_by_its_handle():
    story = Story().tell(connect, runs(run(run_id="run_9", handle="h9")))
    assert story.request == effects.GetRun(run_id="run_9", handle="h9")


def test_the_handle_ends_with_the_run():
    story = polling().tell(seen(RunStatus.FAILED, code="server_error", message="Sorry", handle="h1"))
    assert story.snapshot.run is None


def test_outputs_that_were_given_up_cancel_the_run_by_its_handle():
    story = polling(tool_output_max_attempts=1).tell(needs(LOCATE, handle="h1"), output(LOCATE), unknown())
    assert story.request == effects.CancelRun(run_id="run_1", handle="h1")


# --- the handle alone does not show the result of a submission --------------------------------------------


def test_a_poll_after_a_submission_in_doubt_says_that_the_handle_may_be_outdated():
    for doubt in (unknown(), refused()):
        story = polling().tell(needs(LOCATE, handle="h1"), output(LOCATE), doubt, due)
        assert story.request == DOUBTFUL_LOOK
        story.tell(seen(handle="h2"), due)
        assert story.request == effects.GetRun(run_id="run_1", handle="h2")


def test_after_a_crash_a_submission_counts_as_one_in_doubt():
    story = polling().tell(needs(LOCATE, handle="h1"), output(LOCATE), resume)
    assert story.request == DOUBTFUL_LOOK


def test_a_run_that_is_started_again_names_the_one_that_failed():
    story = polling().tell(
        seen(RunStatus.RATE_LIMITED, code="rate_limit_exceeded", message="Rate limit reached", handle="h2"), due
    )
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_1", retry_of="h2")
    story.tell(LOCKED, runs())
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_1", retry_of="h2")
    story.tell(created(run_id="run_2", handle="h3"))
    assert story.snapshot.run.handle == "h3"


def test_outputs_that_arrived_in_part_are_completed():
    story = submitting().tell(unknown(), due, needs(MEASURE, handle=None))
    assert story.request == effects.SubmitToolOutputs(run_id="run_1", outputs=(("call_2", "2"),), assistant_id="asst_1")
    assert story.said == []


def test_calls_of_the_next_turn_that_are_found_after_a_doubt_are_passed_on():
    other = ToolCall(id="call_9", name="locate", arguments="{}")
    story = submitting().tell(unknown(), due, needs(other, handle=None))
    assert story.said == ["ToolCallRequested"]
    assert story.state == "awaiting_tools"


# --- a locked thread -------------------------------------------------------------------------------------


def test_a_locked_thread_is_tried_each_heartbeat_without_an_end():
    story = posting(request_max_attempts=2).tell(LOCKED)
    assert story.request == effects.GetLatestRun(wide=True)
    for _ in range(5):
        story.tell(runs(), LOCKED)
        assert story.wait == effects.Wait(seconds=1)
        assert story.state == "idle"
        assert story.events == ()
        story.tell(due)
    assert story.tell(runs(), posted()).said == ["UserMessageAdded"]


def test_a_run_is_created_when_the_thread_is_no_longer_locked():
    story = creating(request_max_attempts=2).tell(LOCKED, runs(), LOCKED, due, runs(), LOCKED, due, runs())
    assert story.request == effects.CreateRun(key="k1.1", assistant_id="asst_1")


def test_a_run_in_doubt_that_keeps_its_thread_locked_is_found_by_its_messages():
    story = creating().tell(unknown(in_flight=False), due, runs(), LOCKED, runs(), LOCKED, due)
    assert story.request == effects.GetLatestRun(key="k1.1", wide=True)
    story.tell(runs(run(RunStatus.COMPLETED, "msg_2", key="k1.1")))
    assert story.said == ["RunStarted", "RunCompleted"]
    assert story.state == "idle"


def test_outputs_wait_for_a_locked_thread_without_counting_as_an_attempt():
    story = submitting(tool_output_max_attempts=2)
    for _ in range(5):
        story.tell(LOCKED)
        assert story.wait == effects.Wait(seconds=1)
        assert story.state == "submitting"
        assert story.events == ()
        story.tell(due)
        assert story.request == effects.GetRun(run_id="run_1", in_doubt=True)
        story.tell(needs(LOCATE, MEASURE, handle=None))
    assert story.tell(seen(handle="h2")).state == "running"


# --- messages: earlier ones and late ones -------------------------------------------------------------------


def test_the_newest_message_at_the_first_poll_bounds_the_search_for_our_message():
    story = Story().tell(connect, inputs.RunsListed(runs=(), newest_message_id="msg_0"), say(), unknown(), due)
    story.tell(page(question("msg_5"), question("msg_0"), next_after="msg_0"))
    assert story.said == ["UserMessageAdded"]


def test_the_search_is_bounded_on_a_thread_whose_run_was_adopted_as_well():
    listed = inputs.RunsListed(runs=(run(run_id="run_9"),), newest_message_id="msg_0")
    assert Story().tell(connect, listed).snapshot.server.last_posted.id == "msg_0"


def test_a_later_poll_does_not_move_the_bound():
    story = idle().tell(say(), posted(), created(), due, seen(RunStatus.FAILED, code="x", message="x"))
    story.tell(connect, inputs.RunsListed(runs=(), newest_message_id="msg_7"))
    assert story.snapshot.server.last_posted.id == "msg_1"


def test_a_poll_while_a_message_is_in_doubt_sets_no_bound_because_the_newest_may_be_that_message():
    story = Story(request_max_attempts=1).tell(connect, runs(), say(), unknown())
    story.snapshot = attrs.evolve(story.snapshot, server=attrs.evolve(story.snapshot.server, last_posted=Newest()))
    story.tell(connect, inputs.RunsListed(runs=(), newest_message_id="msg_5"))
    assert story.snapshot.server.last_posted.id is None


def completed_with(*own):
    return polling().tell(seen(RunStatus.COMPLETED, messages=own))


def heard(story):
    return [event.content for event in story.events if isinstance(event, events.AssistantMessageAdded)]


def test_the_answer_of_a_run_is_published_although_the_list_lags_behind():
    story = completed_with(answer("msg_2")).tell(page(question("msg_1")))
    assert heard(story) == ["Hi"]
    assert story.snapshot.cursor.last_message_id == "msg_2"


def test_an_answer_that_the_list_contains_is_not_published_twice():
    story = completed_with(answer("msg_2")).tell(page(question("msg_1"), answer("msg_2")))
    assert heard(story) == ["Hi"]


def test_an_answer_that_the_list_names_otherwise_is_not_published_twice():
    story = completed_with(answer("out_2")).tell(page(question("msg_1"), answer("item_2")))
    assert heard(story) == ["Hi"]
    assert story.snapshot.cursor.last_message_id == "item_2"


def test_answers_on_the_list_come_before_those_that_lag_behind():
    story = completed_with(answer("msg_3", "Late")).tell(page(question("msg_1"), answer("msg_2", "Early")))
    assert heard(story) == ["Early", "Late"]


def test_an_empty_list_is_not_read_from_the_start_if_the_run_contained_its_answer():
    story = completed_with(answer("msg_2")).tell(page(question("msg_1")))
    story.tell(say("Two", "k2"), posted("msg_3"), created(run_id="run_2"), due)
    story.tell(seen(RunStatus.COMPLETED, "run_2", messages=(answer("msg_4", "Again"),)), page())
    assert heard(story) == ["Again"]


def test_an_own_answer_without_text_is_not_published():
    assert heard(completed_with(answer("msg_2", "")).tell(page(question("msg_1")))) == []


def test_calls_of_a_chain_are_requested_once_per_turn():
    story = awaiting(LOCATE).tell(output(LOCATE), seen(handle="h2"), due, needs(MEASURE, handle="h2"))
    assert story.said == ["ToolCallRequested"]
    assert story.snapshot.run.handle == "h2"


# --- a run ends once -------------------------------------------------------------------------------------


def ended(*calls):
    """A run of these calls was seen to fail."""
    story = polling().tell(needs(*calls, handle="h1"), *[output(call) for call in calls], seen(handle="h2"), due)
    return story.tell(seen(RunStatus.FAILED, code="cancelled", message="Cancelled", handle="h2"))


def test_a_run_that_has_ended_is_never_resumed_even_if_the_server_reports_it_as_active():
    story = ended(LOCATE).tell(connect, runs(run(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,))))
    assert story.state == "failed"
    assert story.said == []


def test_many_ends_are_remembered_but_not_all():
    story = idle()
    for number in range(25):
        story.tell(say("x", f"k{number}"), posted(f"msg_{number}"), created(run_id=f"run_{number}"), due)
        story.tell(seen(RunStatus.FAILED, f"run_{number}", code="x", message="x"))
    assert story.snapshot.server.ended_run_ids == tuple(f"run_{number}" for number in range(5, 25))


def test_open_calls_of_an_ended_run_do_not_count_as_a_run():
    left = run(RunStatus.NEEDS_TOOLS, "fc_1", tool_calls=(LOCATE,), inferred=True)
    assert ended(LOCATE).tell(connect, runs(left)).state == "failed"
    assert ended(MEASURE).tell(connect, runs(left)).state == "running"
    assert ended(LOCATE).tell(connect, runs(attrs.evolve(left, inferred=False))).state == "running"
    assert ended(LOCATE).tell(connect, runs(attrs.evolve(left, inferred=False, handle="h0"))).state == "failed"
    assert ended(LOCATE).tell(connect, runs(attrs.evolve(left, tool_calls=()))).state == "running"


@pytest.mark.parametrize("fields", [{"handle": "h1"}, {"inferred": True}])
def test_outputs_that_the_server_has_lost_are_sent_again_if_the_ids_of_calls_are_unique(fields):
    asks = seen(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,), **fields)
    story = creating().tell(created(handle="h1"), due, asks, output(LOCATE, "7"), seen(handle="h1"))
    for _ in range(6):
        story.tell(due, asks)
        assert story.said == []
    assert story.state == "submitting"
    assert story.request.outputs == ((LOCATE.id, "7"),)


def test_calls_of_an_earlier_round_do_not_count_as_a_run():
    story = creating().tell(created(handle="h1"), due, needs(LOCATE, handle="h1"), output(LOCATE), seen(handle="h2"))
    story.tell(due, needs(MEASURE, handle="h2"), output(MEASURE), seen(handle="h3"), due)
    story.tell(seen(RunStatus.COMPLETED, handle="h3"), page(answer("msg_2")))
    # A note that took effect late names the response of the first round.
    waits = run(RunStatus.NEEDS_TOOLS, run_id="resp_1", handle="h1", tool_calls=(LOCATE,))
    story.tell(connect, runs(waits))
    assert (story.state, story.said) == ("idle", [])


def test_a_rate_limited_run_is_not_resumed_while_its_repetition_is_in_doubt():
    limit = seen(RunStatus.RATE_LIMITED, code="rate_limit_exceeded", message="Rate limit reached", handle="h1")
    story = polling().tell(needs(LOCATE, handle="h1"), output(LOCATE), limit, due, unknown(in_flight=False), due)
    assert story.request == effects.GetLatestRun(key="k1.2", retry_of="h1")
    story.tell(runs(run(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,))))
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_1", retry_of="h1", may_exist=True)


def test_a_run_that_is_parked_before_it_is_repeated_still_names_the_one_that_failed():
    limit = seen(RunStatus.RATE_LIMITED, code="rate_limit_exceeded", message="Rate limit reached", handle="h1")
    story = polling().tell(limit, due, inputs.RequestNeedsOperator(status=401, message="key"))
    assert story.state == "failed"
    story.tell(inputs.SetAssistant(assistant_id="asst_1"))
    assert story.request == effects.CreateRun(key="k1.2", assistant_id="asst_1", retry_of="h1")


# --- a run that may exist twice --------------------------------------------------------------------------


def test_a_poll_after_two_creations_says_that_the_run_may_exist_twice():
    story = creating().tell(unknown(in_flight=False), due, runs(), created(handle="h2"), due)
    assert story.request == effects.GetRun(run_id="run_1", handle="h2", in_doubt=True)
    story.tell(seen(handle="h2"), due)
    assert story.request == effects.GetRun(run_id="run_1", handle="h2")


def test_a_poll_after_one_creation_does_not_say_that_the_run_may_exist_twice():
    assert creating().tell(created(handle="h1"), due).request == effects.GetRun(run_id="run_1", handle="h1")


# --- which keys a server keeps ---------------------------------------------------------------------------


def test_a_server_may_keep_the_keys_of_runs_and_not_those_of_messages():
    story = creating().tell(created(key="k1.1"), due, seen(RunStatus.FAILED, code="x", message="x"))
    story.tell(say("Two", "k2"), unknown(), due, page(question("msg_2", "Two"), question("msg_1")))
    assert story.said == ["UserMessageAdded"]
    assert story.snapshot.server.run_keys_kept
    assert not story.snapshot.server.message_keys_kept


# --- old messages and calls ------------------------------------------------------------------------------


def test_an_answer_that_was_published_is_not_that_of_a_run_in_doubt():
    story = completed_with(answer("msg_2")).tell(page(question("msg_1")), say("Two", "k2"), posted("msg_3"))
    story.tell(unknown(in_flight=False), due)
    old = run(RunStatus.COMPLETED, "msg_2", key="k2.1", messages=(answer("msg_2"),), inferred=True)
    story.tell(runs(old))
    assert story.request == effects.CreateRun(key="k2.1", assistant_id="asst_1", may_exist=True)
    assert story.said == []


def test_open_calls_of_a_run_that_has_ended_are_not_those_of_the_run_in_doubt():
    story = ended(LOCATE).tell(say("Two", "k2"), posted("msg_2"), unknown(), due)
    assert story.request.key is not None
    left = run(RunStatus.NEEDS_TOOLS, "fc_1", tool_calls=(LOCATE,), key="k2.1", inferred=True)
    assert story.tell(runs(left)).state == "idle"
    assert (story.said, story.snapshot.run) == ([], None)


def test_calls_of_a_run_that_returns_under_another_id_are_not_requested_again():
    story = polling().tell(needs(LOCATE, MEASURE, handle="h1"), output(LOCATE), due)
    deny_the_poll(story).tell(connect)
    story.tell(runs(run(RunStatus.NEEDS_TOOLS, "fc_1", tool_calls=(LOCATE, MEASURE), inferred=True)))
    story.tell(seen(RunStatus.NEEDS_TOOLS, "fc_1", tool_calls=(LOCATE, MEASURE)))
    assert story.said == []
    assert story.tell(output(MEASURE)).request.outputs == (("call_1", "1"), ("call_2", "1"))


def test_open_calls_of_a_run_that_was_cancelled_while_rate_limited_do_not_count_as_a_run():
    limit = seen(RunStatus.RATE_LIMITED, code="rate_limit_exceeded", message="Rate limit reached", handle="h1")
    story = polling().tell(needs(LOCATE, handle="h1"), output(LOCATE), limit, inputs.CancelRun(), connect)
    left = run(RunStatus.NEEDS_TOOLS, "fc_1", tool_calls=(LOCATE,), inferred=True)
    assert story.tell(runs(left)).state == "failed"
