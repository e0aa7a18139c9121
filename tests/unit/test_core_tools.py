"""Tool calls: requested once, answered together; and outputs that the server does not accept."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.tools import BROKEN_ARGUMENTS_OUTPUT
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    BROKEN,
    LOCATE,
    MEASURE,
    answer,
    awaiting,
    busy,
    connect,
    created,
    creating,
    delayed,
    denied,
    deny_the_poll,
    due,
    failed,
    idle,
    needs,
    output,
    page,
    polling,
    rate_limit,
    rate_limited,
    refuse_the_poll,
    refused,
    run,
    running,
    runs,
    say,
    seen,
    submitting,
    unknown,
)

POLL = effects.GetRun(run_id="run_1")
DOUBTFUL_POLL = effects.GetRun(run_id="run_1", in_doubt=True)
CANCEL = effects.CancelRun(run_id="run_1")
SUBMIT = effects.SubmitToolOutputs(run_id="run_1", outputs=(("call_1", "1"), ("call_2", "2")), assistant_id="asst_1")


# --- tools -------------------------------------------------------------------------------------------------


def test_each_tool_call_is_requested_with_its_decoded_arguments():
    story = polling().tell(needs(LOCATE, MEASURE))
    assert story.events[:2] == (
        events.ToolCallRequested(
            id="call_1", thread_id="thread_1", run_id="run_1", name="locate", arguments={"city": "Oslo"}
        ),
        events.ToolCallRequested(id="call_2", thread_id="thread_1", run_id="run_1", name="measure", arguments={}),
    )
    assert story.state == "awaiting_tools"
    assert story.wait == effects.Wait(seconds=120)


def test_a_run_seen_waiting_again_requests_nothing_again():
    story = awaiting().tell(due)
    assert story.request == POLL
    story.tell(needs(LOCATE, MEASURE))
    assert story.events == ()
    assert story.state == "awaiting_tools"
    assert story.wait == effects.Wait(seconds=120)


def test_a_call_listed_twice_is_requested_once():
    assert polling().tell(needs(LOCATE, LOCATE)).said == ["ToolCallRequested"]


def test_a_call_that_joins_later_is_requested_and_the_recorded_output_kept():
    story = awaiting(LOCATE, MEASURE).tell(output(LOCATE), due)
    third = ToolCall(id="call_9", name="third", arguments="{}")
    story.tell(needs(LOCATE, MEASURE, third))
    assert [event.id for event in story.events] == ["call_9"]
    story.tell(output(MEASURE), output(third))
    assert story.request.outputs == (("call_1", "1"), ("call_2", "1"), ("call_9", "1"))


def test_outputs_are_recorded_and_sent_together_when_the_last_is_in():
    story = awaiting().tell(output(LOCATE))
    assert story.only == events.ToolCallOutputRecorded(
        id="call_1", thread_id="thread_1", run_id="run_1", name="locate", output="1"
    )
    assert story.state == "awaiting_tools"
    assert story.effects == ()
    story.tell(output(MEASURE, "2"))
    assert story.said == ["ToolCallOutputRecorded"]
    assert story.state == "submitting"
    assert story.request == SUBMIT


def test_a_call_whose_arguments_are_not_valid_json_is_answered_at_once():
    story = polling().tell(needs(LOCATE, BROKEN))
    assert story.said == ["ToolCallRequested", "ToolCallOutputRecorded"]
    assert story.events[1].output == BROKEN_ARGUMENTS_OUTPUT
    assert story.state == "awaiting_tools"
    story.tell(output(LOCATE))
    assert story.request.outputs == (("call_1", "1"), ("call_3", BROKEN_ARGUMENTS_OUTPUT))


def test_no_call_is_requested_if_all_arguments_are_unreadable():
    story = polling().tell(needs(BROKEN))
    assert story.said == ["ToolCallOutputRecorded"]
    assert story.state == "submitting"
    assert story.request.outputs == (("call_3", BROKEN_ARGUMENTS_OUTPUT),)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_call_with_blank_arguments_is_requested_without_arguments(text):
    story = polling().tell(needs(ToolCall(id="call_1", name="f", arguments=text)))
    assert story.said == ["ToolCallRequested"]
    assert story.events[0].arguments == {}
    story.tell(output(ToolCall(id="call_1", name="f", arguments=text)))
    assert story.request.outputs == (("call_1", "1"),)


@pytest.mark.parametrize("text", ["{", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_invalid_json_is_recognised(text):
    story = polling().tell(needs(ToolCall(id="call_1", name="f", arguments=text)))
    assert story.said == ["ToolCallOutputRecorded"]


def test_a_tool_answer_for_an_unknown_call_is_ignored():
    story = awaiting()
    before = story.snapshot
    story.tell(inputs.SubmitToolOutput(tool_call_id="call_0", output="1"))
    assert "did not request this call" in story.ignored
    assert story.snapshot == before


def test_a_second_output_for_the_same_call_is_ignored():
    story = awaiting().tell(output(LOCATE, "1"), output(LOCATE, "2"))
    assert "did not request this call" in story.ignored
    assert story.tell(output(MEASURE, "2")).request == SUBMIT


@pytest.mark.parametrize("make", [idle, failed, rate_limited])
def test_a_tool_answer_without_a_run_is_ignored(make):
    assert make().tell(output(LOCATE)).ignored == "no run waits for it"


@pytest.mark.parametrize("make", [running, submitting])
def test_a_tool_answer_that_nobody_waits_for_now_is_ignored(make):
    assert make().tell(output(LOCATE)).ignored == "the run does not wait for it now"


@pytest.mark.parametrize("status", [RunStatus.ACTIVE, RunStatus.CANCELLING])
def test_accepted_outputs_let_the_run_continue(status):
    story = submitting().tell(seen(status))
    assert story.state == "running"
    assert story.wait == effects.Wait(seconds=1)


def test_outputs_are_not_sent_twice_if_the_server_still_shows_the_run_as_waiting():
    story = submitting().tell(needs(LOCATE, MEASURE))
    assert story.state == "running"
    story.tell(due, needs(LOCATE, MEASURE))
    assert story.state == "running"
    assert story.wait == effects.Wait(seconds=1)
    assert story.events == ()


def test_a_second_round_of_calls_is_requested():
    again = ToolCall(id="call_8", name="locate", arguments="{}")
    story = submitting().tell(seen(), due, needs(again))
    assert [event.id for event in story.events if isinstance(event, events.ToolCallRequested)] == ["call_8"]
    assert story.tell(output(again, "3")).request.outputs == (("call_8", "3"),)


def test_a_server_that_answers_the_outputs_with_the_next_round_is_understood():
    again = ToolCall(id="call_8", name="locate", arguments="{}")
    story = submitting().tell(needs(again))
    assert story.state == "awaiting_tools"
    assert story.said == ["ToolCallRequested"]


def test_an_id_that_is_used_again_for_another_call_is_another_call():
    again = ToolCall(id="call_1", name="locate", arguments='{"city":"Bergen"}')
    story = submitting().tell(seen(), due, needs(again))
    assert story.said == ["ToolCallRequested"]


def test_a_run_that_continues_without_our_outputs_is_followed():
    story = awaiting().tell(due, seen())
    assert story.state == "running"
    assert story.tell(due, needs(LOCATE, MEASURE)).said == []
    assert story.state == "awaiting_tools"


def test_the_last_output_waits_for_a_poll_in_flight():
    story = awaiting().tell(due, output(LOCATE), output(MEASURE, "2"))
    assert story.state == "submitting"
    assert story.request is None
    assert story.tell(needs(LOCATE, MEASURE)).request == SUBMIT
    assert story.state == "submitting"


def test_the_first_poll_of_a_started_run_may_find_calls_at_once():
    story = creating().tell(created(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,)))
    assert story.said == ["RunStarted", "ToolCallRequested"]
    assert story.state == "awaiting_tools"


# --- outputs that the server does not accept -------------------------------------------------------------------


def test_a_submission_that_did_not_happen_is_repeated_after_its_delay():
    story = submitting().tell(delayed())
    assert (story.only.operation, story.only.attempt, story.only.will_retry) == ("submit_tool_outputs", 1, True)
    assert story.wait == effects.Wait(seconds=5)
    assert story.state == "submitting"
    assert story.tell(due).request == SUBMIT


def test_a_submission_waits_as_long_as_the_server_asks():
    assert submitting().tell(delayed(retry_after=60)).wait == effects.Wait(seconds=60)


@pytest.mark.parametrize("trouble", [unknown(), refused()], ids=["unknown", "refused"])
def test_after_a_submission_in_doubt_the_run_is_polled_before_sending_again(trouble):
    story = submitting().tell(trouble)
    assert story.wait == effects.Wait(seconds=5)
    assert story.only.will_retry
    story.tell(due)
    assert story.request == DOUBTFUL_POLL
    story.tell(needs(LOCATE, MEASURE))
    assert story.request == SUBMIT
    assert story.state == "submitting"


def test_outputs_that_had_arrived_are_not_sent_again():
    story = submitting().tell(unknown(), due, seen())
    assert story.state == "running"
    assert story.tell(due, needs(LOCATE, MEASURE)).state == "running"


@pytest.mark.parametrize("trouble", [delayed(), unknown(), refused()], ids=["delayed", "unknown", "refused"])
def test_outputs_without_attempts_left_fail_the_thread_and_cancel_the_run(trouble):
    story = submitting(tool_output_max_attempts=2).tell(trouble, due)
    if story.request == DOUBTFUL_POLL:
        story.tell(needs(LOCATE, MEASURE))
    assert story.request == SUBMIT
    story.tell(trouble)
    assert story.said == ["RequestFailed", "ToolCallOutputSubmissionFailed"]
    assert (story.events[0].attempt, story.events[0].will_retry) == (2, False)
    assert story.state == "failed"
    assert story.request == CANCEL
    assert story.tell(seen(RunStatus.CANCELLING)).wait == effects.Wait(seconds=120)
    assert story.snapshot.settled


def given_up(**settings):
    return submitting(tool_output_max_attempts=1, **settings).tell(delayed())


def test_messages_continue_after_the_cancel_of_an_abandoned_run():
    story = given_up().tell(say("Two", "k2"))
    assert story.effects == ()
    assert story.tell(seen(RunStatus.CANCELLING)).request == effects.PostMessage(key="k2", content="Two")


def test_the_cancel_of_an_abandoned_run_is_repeated_if_it_fails_and_then_dropped():
    story = given_up(request_max_attempts=2).tell(delayed())
    assert story.only.will_retry
    assert story.tell(due).request == CANCEL
    story.tell(delayed())
    assert story.only.will_retry is False
    assert story.snapshot.settled
    assert not story.snapshot.outbox.parked


def test_the_cancel_of_an_abandoned_run_may_find_it_ended():
    story = given_up().tell(refused())
    assert story.events == ()
    assert story.snapshot.settled
    assert not story.snapshot.outbox.parked


def test_the_cancel_of_an_abandoned_run_is_given_up_with_a_wrong_key():
    story = given_up().tell(denied())
    assert story.only.will_retry is False
    assert story.state == "failed"
    assert story.snapshot.settled


def test_polls_during_a_submission_have_no_limit():
    story = submitting().tell(unknown(), due)
    for _ in range(10):
        story.tell(delayed(), due)
    assert story.request == DOUBTFUL_POLL
    assert story.state == "submitting"


def test_a_run_that_the_server_denies_knowing_during_a_submission_is_lost():
    story = refuse_the_poll(submitting().tell(unknown(), due))
    assert story.said == ["RequestFailed", "RunFailed"]
    assert story.state == "failed"


def test_outputs_that_a_wrong_key_held_back_are_sent_when_the_run_is_seen_again():
    story = submitting().tell(denied())
    assert story.said == ["RequestFailed", "ToolCallOutputSubmissionFailed"]
    assert story.state == "failed"
    story.tell(connect, runs(run(RunStatus.NEEDS_TOOLS)), needs(LOCATE, MEASURE))
    assert story.request == SUBMIT
    assert story.said == []


def test_an_output_for_a_run_that_a_wrong_key_abandoned_is_kept_and_sent_later():
    story = deny_the_poll(awaiting().tell(output(LOCATE), due)).tell(output(MEASURE, "2"))
    assert story.said == ["ToolCallOutputRecorded"]
    assert story.request == effects.GetLatestRun()
    story.tell(runs(run(RunStatus.NEEDS_TOOLS)), needs(LOCATE, MEASURE))
    assert story.request == SUBMIT


def test_a_denied_poll_during_a_submission_parks_the_thread():
    story = deny_the_poll(submitting().tell(unknown(), due))
    assert story.said == ["RequestFailed"]
    assert story.state == "failed"


# --- rounds of equal calls, and runs that reappear ----------------------------------------------------------------


def test_a_run_that_was_thought_lost_and_reappears_requests_nothing_again():
    story = refuse_the_poll(awaiting().tell(output(LOCATE), due))
    assert story.said == ["RequestFailed", "RunFailed"]
    story.tell(output(MEASURE, "2"), connect, runs(run(RunStatus.NEEDS_TOOLS)), needs(LOCATE, MEASURE))
    assert story.said == []
    assert story.request == SUBMIT


def test_calls_that_repeat_the_last_ones_in_several_polls_are_a_new_round():
    story = submitting().tell(seen())
    for _ in range(5):
        story.tell(due, needs(LOCATE, MEASURE))
        assert story.said == []
        assert story.state == "running"
    story.tell(due, needs(LOCATE, MEASURE))
    assert story.said == ["ToolCallRequested", "ToolCallRequested"]
    assert story.state == "awaiting_tools"
    assert story.tell(output(LOCATE), output(MEASURE, "2")).request == SUBMIT


def test_a_short_poll_interval_does_not_make_an_outdated_state_a_new_round():
    story = submitting(heartbeat_interval=0.05).tell(seen())
    for _ in range(40):
        story.tell(due, needs(LOCATE, MEASURE))
        assert story.said == []
    story.tell(due, needs(LOCATE, MEASURE))
    assert story.said == ["ToolCallRequested", "ToolCallRequested"]


def test_a_poll_that_shows_the_run_in_progress_ends_the_suspicion_of_a_new_round():
    story = submitting().tell(seen())
    for _ in range(3):
        story.tell(due, needs(LOCATE, MEASURE), due, needs(LOCATE, MEASURE), due, seen())
    assert story.said == []
    assert story.snapshot.run.stale_polls == 0


def test_a_new_round_of_equal_broken_calls_is_answered_again():
    story = polling().tell(needs(BROKEN), seen())
    for _ in range(6):
        story.tell(due, needs(BROKEN))
    assert story.said == ["ToolCallOutputRecorded"]
    assert story.state == "submitting"


SPELT = ToolCall(id="call_8", name="locate", arguments='{"city":"Oslo","country":"NO"}')


@pytest.mark.parametrize("arguments", ['{"country": "NO", "city": "Oslo"}', '{"city":"O\\u0073lo","country":"NO"}'])
def test_a_call_whose_arguments_the_server_writes_differently_is_the_same_call(arguments):
    again = attrs.evolve(SPELT, arguments=arguments)
    story = polling().tell(needs(SPELT, MEASURE), due, needs(again, MEASURE))
    assert story.said == []
    story.tell(output(again), output(MEASURE))
    assert [id_ for id_, _ in story.request.outputs] == ["call_8", "call_2"]


@pytest.mark.parametrize("arguments", ['{"city":"Oslo"}', '{"city":"Oslo","country":1}', "{broken", "[]"])
def test_a_call_with_the_id_of_another_one_and_other_arguments_is_a_new_call(arguments):
    story = polling().tell(needs(SPELT), due, needs(attrs.evolve(SPELT, arguments=arguments)))
    assert story.said[0] in ("ToolCallRequested", "ToolCallOutputRecorded")


@pytest.mark.parametrize(("one", "other"), [('{"x":1.0}', '{"x":1}'), ('{"x":[1,2.50]}', '{"x":[1.0,2.5]}')])
def test_numbers_may_be_written_in_another_form(one, other):
    calls = [ToolCall(id="call_8", name="measure", arguments=text) for text in (one, other)]
    assert polling().tell(needs(calls[0]), due, needs(calls[1])).said == []


def test_of_two_calls_with_one_id_the_known_one_is_answered_in_whatever_order_they_are_named():
    other = attrs.evolve(LOCATE, arguments='{"city":"Rome"}')
    story = polling().tell(needs(LOCATE, other), output(LOCATE), unknown(), due, needs(other, LOCATE))
    assert story.request.outputs == (("call_1", "1"),)


def test_a_number_and_a_truth_value_are_different_arguments():
    one, true = (ToolCall(id="call_8", name="switch", arguments=text) for text in ('{"on":1}', '{"on":true}'))
    assert polling().tell(needs(one), due, needs(true)).said == ["ToolCallRequested"]


@pytest.mark.parametrize("trouble", [delayed(), unknown()], ids=["delayed", "unknown"])
def test_of_two_calls_with_one_id_the_first_is_answered_and_nothing_waits_for_the_other(trouble):
    other = attrs.evolve(LOCATE, arguments='{"city":"Rome"}')
    story = polling().tell(needs(LOCATE, other))
    assert story.said == ["ToolCallRequested"]
    story.tell(output(LOCATE), trouble)
    for _ in range(10):
        if isinstance(story.request, effects.SubmitToolOutputs) and not story.snapshot.has_waiting_request:
            break
        story.tell(due, *([] if story.snapshot.has_waiting_request else [needs(LOCATE, other)]))
    assert story.request.outputs == (("call_1", "1"),)


def test_each_round_has_all_its_attempts():
    again = ToolCall(id="call_8", name="locate", arguments="{}")
    story = submitting().tell(unknown(), due, needs(again), output(again), delayed())
    assert (story.only.attempt, story.only.will_retry) == (1, True)


def test_the_calls_of_a_rate_limited_run_are_forgotten():
    story = awaiting().tell(due, rate_limit())
    assert not story.snapshot.calls
    assert story.tell(output(LOCATE)).ignored == "no run waits for it"


def test_a_run_that_was_given_up_and_is_still_being_cancelled_requests_nothing_again():
    story = given_up().tell(say("Two", "k2"), seen(RunStatus.CANCELLING), busy())
    story.tell(runs(run(RunStatus.CANCELLING)), needs(LOCATE, MEASURE))
    assert story.said == []
    assert story.request == SUBMIT


def test_words_before_calls_are_published_before_the_calls_and_only_once():
    said = answer("msg_2", "Let me look.")
    story = polling().tell(seen(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,), messages=(said,)))
    assert story.said == ["AssistantMessageAdded", "ToolCallRequested"]
    assert story.snapshot.cursor.last_message_id == "msg_2"
    story.tell(due, seen(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,), messages=(said,)))
    assert story.said == []
    done = seen(RunStatus.COMPLETED, messages=(answer("msg_3", "Found."),))
    story.tell(output(LOCATE), done, page(said, answer("msg_3", "Found.")))
    assert [event.content for event in story.events if hasattr(event, "content")] == ["Found."]
